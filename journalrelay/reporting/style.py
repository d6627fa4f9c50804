"""How the page looks: on wide and narrow screens, light and dark, on paper.

Of the colours each is told from every other one with normal sight and with any of the three kinds
of colour blindness, and stands out from the ground, 3 to 1 at least (WCAG 2.1, 1.4.11); tests hold
both.
"""

GROUND = {"light": "#ffffff", "dark": "#161b22"}
COLOURS = {
    "light": ("#0f62ae", "#d4570b", "#703b37", "#a29066", "#d170a1", "#3c3958"),
    "dark": ("#58a6ff", "#ff8c42", "#998169", "#c6f0a7", "#67709f", "#73f8e6"),
}
TEXTS = {
    "light": {"page": "#f3f5f8", "ink": "#1b2330", "soft": "#556070", "line": "#dde2e9"},
    "dark": {"page": "#0d1117", "ink": "#e6edf3", "soft": "#9aa7b5", "line": "#2d3540"},
}


def sheet() -> str:
    """Return the style sheet."""
    return (
        f":root{{color-scheme:light dark;{_variables('light')}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables('dark')}}}}}\n"
        + "\n".join(f".s{n}{{--c:var(--c{n})}}" for n in range(1, len(COLOURS["light"]) + 1))
        + _SHEET
    )


def _variables(scheme: str) -> str:
    named = {f"c{n}": colour for n, colour in enumerate(COLOURS[scheme], 1)}
    named |= TEXTS[scheme] | {"card": GROUND[scheme]}
    return "".join(f"--{name}:{colour};" for name, colour in named.items())


_SHEET = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.5rem 0 .75rem;scroll-margin-top:1rem}
h3{font-size:1.05rem;margin:0}
p{margin:.4rem 0;max-width:46rem}
a{color:var(--c1)}
.note,header p,footer,figcaption p{color:var(--soft)}
.note,footer{font-size:.875rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;margin:1rem 0 0;font-size:.9375rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.75rem,1fr));gap:.75rem;
 margin:1.25rem 0;padding:0;list-style:none}
.tiles li,figure,.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.tiles li{padding:.75rem 1rem}
.tiles b{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.875rem;line-height:1.35;display:block}
.tiles .warn{border-color:var(--c2);box-shadow:inset .25rem 0 var(--c2)}
figure,.card{margin:0 0 1rem;padding:1rem 1.25rem}
figcaption{margin-bottom:.5rem;display:flex;flex-wrap:wrap;align-items:baseline;gap:0 .75rem}
figcaption p{margin:0;font-size:.875rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:.5rem 0 .9rem;padding:0;
 font-size:.875rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;background:var(--c);
 margin-right:.4rem;vertical-align:-.08rem}
b{font-variant-numeric:tabular-nums}
.frame{display:grid;grid-template:auto 12rem 1.6rem/2.6rem 1fr}
.frame svg{width:100%;height:100%;display:block;grid-area:2/2;overflow:hidden}
.cut{grid-area:1/2;position:relative}
.cut:not(:empty){height:1.2rem}
.cut span{position:absolute;transform:translateX(-50%);font-size:.75rem;font-weight:600}
.cut .end{transform:translateX(-100%)}
.y{grid-area:2/1;position:relative}
.y span{position:absolute;right:.5rem;transform:translateY(50%)}
.frame .x{grid-area:3/2}
.x{position:relative;height:1.6rem}
.x span{position:absolute;top:.3rem;transform:translateX(-50%);white-space:nowrap}
.x span::before{content:"";position:absolute;left:50%;top:-.3rem;height:.3rem;
 border-left:1px solid var(--soft)}
.x span,.y span{font-size:.75rem;line-height:1.2;color:var(--soft);
 font-variant-numeric:tabular-nums}
.grid{stroke:var(--line);vector-effect:non-scaling-stroke;fill:none}
.column{fill:var(--c)}
.axis{stroke:var(--soft);vector-effect:non-scaling-stroke;fill:none}
svg rect{fill:transparent}
svg rect:hover{fill:var(--ink);fill-opacity:.12}
details{margin-top:.6rem;font-size:.9375rem}
summary{cursor:pointer;color:var(--soft);font-size:.875rem;padding:.2rem 0}
.scroll{overflow-x:auto;margin-top:.4rem}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
caption{text-align:left;font-weight:600;padding-bottom:.4rem}
code{white-space:nowrap}
th,td{padding:.35rem .75rem .35rem 0;text-align:left;border-bottom:1px solid var(--line);
 vertical-align:top}
tr:last-child>*{border-bottom:0}
th{font-weight:600}
thead th{font-size:.8125rem;color:var(--soft);white-space:nowrap}
tbody th{font-weight:500;overflow-wrap:anywhere;min-width:11rem}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.t{white-space:nowrap;font-variant-numeric:tabular-nums}
td:last-child,th:last-child{padding-right:0}
.bar{display:block;min-width:6rem;height:.7rem;margin-top:.4rem;border-radius:.2rem;
 background:var(--line)}
.bar i{display:block;height:100%;border-radius:.2rem;background:var(--c);min-width:2px}
.strip{display:grid;grid-template-columns:13rem 1fr;align-items:center;gap:.35rem .75rem;margin:0 0
 .75rem}
.strip dt{font-size:.875rem}
.strip dd{margin:0;position:relative;height:1.4rem;background:var(--page);border-radius:.25rem}
.strip dd.x{background:none;height:1.6rem}
.strip i{position:absolute;top:0;bottom:0;min-width:3px;background:var(--c);border-radius:.1rem}
.well{border-left:.25rem solid var(--c1);padding-left:.9rem}
footer{padding-top:1.5rem;padding-bottom:2.5rem}
@media (max-width:40rem){
 main,header,footer{padding-left:.8rem;padding-right:.8rem}
 header{padding-top:1.25rem}
 h1{font-size:1.4rem}
 figure,.card{padding:.85rem .8rem}
 .tiles{grid-template-columns:1fr 1fr;gap:.5rem}
 .tiles li{padding:.6rem .75rem}
 .tiles b{font-size:1.25rem}
 .frame{grid-template:auto 10rem 1.6rem/2.2rem 1fr}
 .x .odd{display:none}
 .strip{grid-template-columns:1fr;gap:.15rem}
 .strip dd{margin-bottom:.4rem}
 .bar{min-width:3.5rem}
 tbody th{min-width:6.5rem}
 .rows thead{display:none}
 .rows tbody,.rows tr,.rows th,.rows td{display:block}
 .rows tr{padding:.4rem 0;border-bottom:1px solid var(--line)}
 .rows tr:last-child{border:0}
 .rows th,.rows td{border:0;padding:.1rem 0;text-align:left;white-space:normal}
 .rows td{display:flex;justify-content:space-between;gap:1rem;overflow-wrap:anywhere}
 .rows td::before{content:attr(data-h);color:var(--soft);font-size:.875rem;flex:none;
  max-width:45%}
 .rows td[data-h=""],.rows td:empty{display:none}
}
@media print{
 body{background:none;font-size:10pt}
 main,header,footer{max-width:none;padding-left:0;padding-right:0}
 nav,details{display:none}
 figure,tr,.tiles li{break-inside:avoid}
 figure,.card,.tiles li{border-color:#999}
 .frame{grid-template:auto 8rem 1.6rem/2.6rem 1fr}
 .tiles{grid-template-columns:repeat(7,1fr);gap:.4rem}
 .tiles li{padding:.4rem .5rem}
 .tiles b{font-size:1.1rem}
 .scroll{overflow:visible}
 *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
 h2{break-after:avoid}
}
"""
