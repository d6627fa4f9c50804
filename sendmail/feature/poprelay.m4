divert(-1)
dnl poprelay: a client that has just read its mail may send mail. Part of journalrelay.
dnl
dnl Arguments, all optional: the map specifications of popip, localip and relay.
dnl What they mean, what is refused and how to look inside: the README one directory up.
dnl
dnl Comments here are dnl lines: the cf files switch m4 comments off, and a macro name followed by
dnl a parenthesis would be expanded in a comment with a number sign.

divert(0)dnl
VERSIONID(`journalrelay: poprelay.m4')
divert(-1)

dnl Said to who may not relay. proto.m4 keeps a text that is already defined, and so does this.
ifdef(`confRELAY_MSG', `', `define(`confRELAY_MSG', `"550 Relaying denied. Check your mail first."')')

dnl Each takes all arguments and gives its own, or the default; quoted, for the commas in it.
define(`_POPRELAY_POPIP_', `ifelse(`$1', `', `hash /var/lib/poprelayd/popip', ``$1'')')
define(`_POPRELAY_LOCALIP_', `ifelse(`$2', `', `hash -o 'MAIL_SETTINGS_DIR`localip', ``$2'')')
define(`_POPRELAY_RELAY_', `ifelse(`$3', `', `hash -o 'MAIL_SETTINGS_DIR`relay', ``$3'')')

LOCAL_CONFIG
# poprelay: who has read its mail, and until when; who always may; where to anybody may
Kpopip _POPRELAY_POPIP_(_ARGS_)
Klocalip _POPRELAY_LOCALIP_(_ARGS_)
Krelay _POPRELAY_RELAY_(_ARGS_)
# A time in seconds since the epoch: ten decimal digits, the first not 0 (arith reads 0 as octal,
# junk as 0, and takes the digits that junk begins with), until 2286
Kpoptime regex -s1 ^([1-9][0-9]{9})$
# The macro for the time of day stands still during a session and may be empty, so a program tells
Kpopclock program /bin/date -u
Kpoparith arith
# In localip and relay, a first word that denies
C{PopRelayNo}NO REJECT DENY DISCARD ERROR
# Local parts that name another address or host: not to pass for their domain alone
Kpoproute regex -a<ROUTE> [@%!"\\]

LOCAL_RULESETS
######################################################################
###  poprelay: appended to the check of the recipient.
###  Answering RELAY here leaves every other check in force.
######################################################################
SRcpt_ok
dnl Asked first, so that a broken map of ours is nothing to those who may relay without it.
R$*			$: $1 $| $>Relay_ok $1
R$* $| RELAY		$@ RELAY			may relay without us
R$* $| $*		$: $1 $| $>PopRelay $1
R$* $| RELAY		$@ RELAY
R$* $| $*		$: $1			as it was, for what follows

dnl input: localpart<@domain>; output: RELAY or NO
dnl The dearest question, popip (it may run the clock), is asked last.
SPopRelay
R$*			$: $&{client_addr} $| $1
R$| $*			$@ NO			no client
R$+ $| $*		$: $>PopRelayFull $1 $| $2
R$+ $| $*		$: $1 $| $2 $| $>PopRelayNetwork $1
R$* $| $* $| RELAY	$@ RELAY
R$* $| $* $| $*		$: $1 $| $>PopRelayRcpt $2
R$* $| RELAY		$@ RELAY
R$* $| $*		$@ $>PopRelayGrant $1

dnl input: address $| anything; output: the same, a compressed IPv6 address written out
SPopRelayFull
RIPv6:$* :: $* $| $*	$: <> IPv6:$1:z:$2 $| $3
R<> IPv6::$+ $| $*	$: <> IPv6:$1 $| $2
R<> $+: $| $*		$: <> $1 $| $2
R<> IPv6:$-:$- $| $*	$: <0:0:0:0:0:0:0> IPv6:$1:$2 $| $3
R<> IPv6:$-:$-:$- $| $*	$: <0:0:0:0:0:0> IPv6:$1:$2:$3 $| $4
R<> IPv6:$-:$-:$-:$- $| $*	$: <0:0:0:0:0> IPv6:$1:$2:$3:$4 $| $5
R<> IPv6:$-:$-:$-:$-:$- $| $*	$: <0:0:0:0> IPv6:$1:$2:$3:$4:$5 $| $6
R<> IPv6:$-:$-:$-:$-:$-:$- $| $*	$: <0:0:0> IPv6:$1:$2:$3:$4:$5:$6 $| $7
R<> IPv6:$-:$-:$-:$-:$-:$-:$- $| $*	$: <0:0> IPv6:$1:$2:$3:$4:$5:$6:$7 $| $8
R<> IPv6:$* z $* $| $*	$: <0> IPv6:$1 z $2 $| $3
R<$+> IPv6:$* z $* $| $*	$: IPv6:$2 $1 $3 $| $4
R<$*> $*		$: $2

dnl input: address; output: RELAY or NO by localip, longest key first
SPopRelayNetwork
R$*			$: $(localip $1 $: ? $) $| $1
R? $| IPv6:$-		$@ NO
R? $| $+.$-		$@ $>PopRelayNetwork $1
R? $| $+:$-		$@ $>PopRelayNetwork $1
R? $| $*		$@ NO
R$* $| $*		$@ $>PopRelayValue $1

dnl input: localpart<@domain>; output: RELAY or NO by relay, longest key first
SPopRelayRcpt
R$+ <@ $+ >		$: $(poproute $1 $: ? $) $| $2
R? $| $+		$@ $>PopRelayDomain $1
R$*			$@ NO

SPopRelayDomain
R$+ .			$: $1
R$+			$: $(relay $1 $: ? $) $| $1
R? $| $-.$+		$@ $>PopRelayDomain $2
R? $| $*		$@ NO
R$* $| $*		$@ $>PopRelayValue $1

dnl input: the value of localip or relay
dnl output: RELAY, or NO if it is empty, denies, or is the mark of a failed lookup (-T<TMPF>)
SPopRelayValue
R$@			$@ NO
R$={PopRelayNo} $*	$@ NO
R$* < $*		$@ NO
R$*			$@ RELAY

dnl input: address; output: RELAY if popip holds it, or its first four groups, with a time to come
SPopRelayGrant
R$-.$-.$-.$-		$: $(popip $1.$2.$3.$4 $: NO $) $| NO
RIPv6:$-:$-:$-:$-:$-:$-:$-:$-	$: $(popip IPv6:$1:$2:$3:$4:$5:$6:$7:$8 $: NO $) $| $(popip IPv6:$1:$2:$3:$4 $: NO $)
R$* $| $*		$: $(poptime $1 $: NO $) $| $(poptime $2 $: NO $)
RNO $| NO		$@ NO			the clock does not run for nothing
R$- $| $-		$: $1 $| $2 $| $(popclock +%s $: NO $)
R$- $| $- $| $*		$: $1 $| $2 $| $(poptime $3 $: NO $)
R$- $| $- $| NO		$@ NO			no clock, no relay
dnl arith reads NO as 0, which is never later than now
R$- $| $- $| $-		$: $(poparith l $@ $3 $@ $1 $) $(poparith l $@ $3 $@ $2 $)
R$* TRUE $*		$@ RELAY
R$*			$@ NO

dnl Relay_ok refuses clients without a good PTR in words of its own, before ours are reached. These
dnl rules stand after all of LOCAL_RULESETS, so that a rule of the site may still say RELAY.
MAILER_DEFINITIONS
SRcpt_ok
RRELAY			$@ RELAY
R$#$*			$#$1
R$*			$: $1 $| $&{client_resolve}
R$* $| FAIL		$#error $@ 5.7.1 $: confRELAY_MSG
R$* $| FORGED		$#error $@ 5.7.1 $: confRELAY_MSG
R$* $| $*		$: $1
divert(-1)
