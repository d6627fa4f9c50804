/* The limit: what a program in C needs for the same work, on the same libraries.

   limit read FIELDS MOST DIRECTORY MATCH...
       Reading only: a loop over the entries that MATCH selects ("+" between alternatives, as in
       journalctl), each line parsed as Dovecot's login line. FIELDS are names, separated by commas,
       of the fields that are fetched besides where the line is a login; "-" for none.
   limit relay FIELDS BATCH DIRECTORY MATCH... with MAP, CURSOR, WINDOW_S and ROOM in the environment
       The whole job: the same, coalesced by address over BATCH entries, put into a new map with room
       for ROOM addresses, synced after each batch; then the cursor, by rename.

   The map is journalrelay's: a Berkeley DB hash, made with room so that no commit splits a bucket;
   key the address as sendmail asks for it, value the later of the old expiry and the login's time
   plus the window, in decimal seconds. Prints seconds (without the program's start), entries read
   and logins found. */

#include <arpa/inet.h>
#include <ctype.h>
#include <db.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, FILL = 60, LOAD = 20, LEAST = 4096, CACHE = 1 << 20, LONGEST = 450 };

struct login {
  struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d */
  uint64_t time_us;
};

/* Lines */

static bool skip(const char **at, const char *word) {
  size_t length = strlen(word);
  if (strncmp(*at, word, length) != 0)
    return false;
  *at += length;
  return true;
}

static size_t span(const char **at, const char *accepted) {
  size_t length = strspn(*at, accepted);
  *at += length;
  return length;
}

static bool number(const char **at, const char *word) {
  return !skip(at, word) || span(at, "0123456789") > 0;
}

static bool read_address(const char *from, const char *to, struct in6_addr *address) {
  char text[64] = "::ffff:";
  size_t length = to - from;
  bool six = memchr(from, ':', length) != NULL;
  if (length > 45)
    return false;
  char *start = six ? text : text + 7;
  memcpy(start, from, length);
  start[length] = 0;
  return inet_pton(AF_INET6, text, address) == 1;
}

/* What stands behind the user's name: the last ">, method=" is the real one, since the name is the
   client's own text and may hold such words itself. */
static bool parse_tail(const char *at, struct in6_addr *address) {
  static const char hex[] = "0123456789ABCDEFabcdef:.";
  static const char word[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  static const char id[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  if (strncmp(at, "ANONYMOUS,", 10) == 0 || !span(&at, word) || !skip(&at, ", rip="))
    return false;
  const char *from = at;
  span(&at, hex);
  if (!read_address(from, at, address) || !number(&at, ", rport=") || !skip(&at, ", lip="))
    return false;
  if (!span(&at, hex) || !number(&at, ", lport=") || !number(&at, ", mpid="))
    return false;
  if (!skip(&at, ", TLS"))
    skip(&at, ", secured");
  if (skip(&at, ", session=<") && (!span(&at, id) || !skip(&at, ">")))
    return false;
  return *at == 0;
}

static const char *last(const char *text, size_t length, const char *word, size_t size) {
  for (const char *at = text + length - size; at >= text; at--)
    if (*at == *word && memcmp(at, word, size) == 0)
      return at;
  return NULL;
}

static bool parse(const char *message, size_t length, struct in6_addr *address) {
  char line[LONGEST + 1];
  if (length > LONGEST)
    return false;
  const char *at = message;
  if (length < 24 || (memcmp(at, "imap-login: ", 12) != 0 && memcmp(at, "pop3-login: ", 12) != 0))
    return false;
  memcpy(line, message, length);
  line[length] = 0;
  at = line + 12;
  if (!skip(&at, "Login: user=<") && !skip(&at, "Logged in: user=<"))
    return false;
  for (const char *c = at; c < line + length; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      return false;
  const char *tail = last(at, line + length - at, ">, method=", 10);
  return tail && parse_tail(tail + 10, address);
}

/* The journal */

static void check(int code, const char *what) {
  if (code < 0)
    errx(1, "%s: %s", what, strerror(-code));
}

static sd_journal *open_journal(const char *directory, char **matches) {
  sd_journal *journal;
  check(sd_journal_open_directory(&journal, directory, 0), directory);
  for (; *matches; matches++)
    check(strcmp(*matches, "+") ? sd_journal_add_match(journal, *matches, 0)
                                : sd_journal_add_disjunction(journal),
          *matches);
  return journal;
}

static void fetch(sd_journal *journal, char **fields) {
  const void *data;
  size_t length;
  for (; *fields; fields++)
    sd_journal_get_data(journal, *fields, &data, &length);
}

/* Step to the next entry; 0 at the end. LOGIN is filled, and *IS_LOGIN set, when it is one. */
static int step(sd_journal *journal, char **fields, struct login *login, bool *is_login) {
  const char *data;
  size_t length;
  int more = sd_journal_next(journal);
  check(more, "sd_journal_next");
  *is_login = false;
  if (more == 0 || sd_journal_get_data(journal, "MESSAGE", (const void **)&data, &length) < 0)
    return more;
  *is_login = parse(data + 8, length - 8, &login->address);
  if (*is_login) {
    fetch(journal, fields);
    check(sd_journal_get_realtime_usec(journal, &login->time_us), "realtime");
  }
  return more;
}

/* Coalescing: an open hash of the batch's addresses */

struct batch {
  struct login *slots;
  size_t mask, *used, count;
};

static struct batch new_batch(size_t most) {
  size_t size = 1;
  while (size < 2 * most)
    size *= 2;
  struct batch batch = {calloc(size, sizeof(struct login)), size - 1,
                        calloc(most, sizeof(size_t)), 0};
  if (!batch.slots || !batch.used)
    err(1, "memory");
  return batch;
}

static void add(struct batch *batch, const struct login *login) {
  uint64_t high, low;
  memcpy(&high, &login->address, 8);
  memcpy(&low, (const char *)&login->address + 8, 8);
  size_t at = ((high ^ low) * 0x9E3779B97F4A7C15u >> 40) & batch->mask; /* the top has all bits in it */
  while (batch->slots[at].time_us &&
         memcmp(&batch->slots[at].address, &login->address, sizeof login->address) != 0)
    at = (at + 1) & batch->mask;
  if (!batch->slots[at].time_us)
    batch->used[batch->count++] = at;
  if (login->time_us > batch->slots[at].time_us)
    batch->slots[at] = *login;
}

/* The map */

static void db_check(int code, const char *what) {
  if (code)
    errx(1, "%s: %s", what, db_strerror(code));
}

static DB *open_map(const char *path, size_t room) {
  size_t buckets = LEAST;
  while (buckets * LOAD < room)
    buckets *= 2;
  DB *map;
  unlink(path);
  db_check(db_create(&map, NULL, 0), "db_create");
  map->set_cachesize(map, 0, CACHE, 0);
  map->set_pagesize(map, PAGE);
  map->set_h_ffactor(map, FILL);
  map->set_h_nelem(map, buckets * FILL);
  db_check(map->open(map, NULL, path, NULL, DB_HASH, DB_CREATE, 0644), path);
  return map;
}

static size_t spell(const struct in6_addr *address, char *key) {
  const unsigned char *b = address->s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(address))
    return sprintf(key, "%d.%d.%d.%d", b[12], b[13], b[14], b[15]);
  size_t length = sprintf(key, "ipv6");
  for (int group = 0; group < 8; group++)
    length += sprintf(key + length, ":%x", b[2 * group] << 8 | b[2 * group + 1]);
  return length;
}

static void put(DB *map, const struct login *login, uint64_t window_s) {
  char key_text[64], text[32];
  DBT key = {.data = key_text, .size = spell(&login->address, key_text)};
  DBT value = {.data = text, .ulen = sizeof text - 1, .flags = DB_DBT_USERMEM};
  uint64_t expiry = (login->time_us + window_s * 1000000) / 1000000, old = 0;
  int code = map->get(map, NULL, &key, &value, 0);
  if (code == 0) {
    text[value.size] = 0;
    old = strtoull(text, NULL, 10);
  } else if (code != DB_NOTFOUND)
    db_check(code, "get");
  if (expiry <= old)
    return;
  value.size = sprintf(text, "%" PRIu64, expiry);
  db_check(map->put(map, NULL, &key, &value, 0), "put");
}

static void commit(DB *map, int lock, struct batch *batch, uint64_t window_s) {
  struct stat before;
  if (flock(lock, LOCK_EX) || fstat(lock, &before))
    err(1, "lock");
  for (size_t i = 0; i < batch->count; i++) {
    put(map, &batch->slots[batch->used[i]], window_s);
    batch->slots[batch->used[i]].time_us = 0;
  }
  db_check(map->sync(map, 0), "sync"); /* one fdatasync */
  time_t now = time(NULL);
  struct timespec stamp = {.tv_sec = now > before.st_mtime ? now : before.st_mtime + 1};
  if (futimens(lock, (struct timespec[]){stamp, stamp}) || flock(lock, LOCK_UN))
    err(1, "stamp");
  batch->count = 0;
}

static void save_cursor(sd_journal *journal, const char *path) {
  char *cursor, beside[4096];
  check(sd_journal_get_cursor(journal, &cursor), "cursor");
  snprintf(beside, sizeof beside, "%s.new", path);
  int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, cursor, strlen(cursor)) < 0 || fdatasync(fd) || close(fd) ||
      rename(beside, path))
    err(1, "%s", path);
  free(cursor);
}

/* The two jobs */

static uint64_t entries, logins;

static void read_only(sd_journal *journal, char **fields, uint64_t most) {
  struct login login;
  bool is_login;
  while (entries < most && step(journal, fields, &login, &is_login)) {
    entries++;
    logins += is_login;
  }
}

static const char *setting(const char *name) {
  const char *value = getenv(name);
  if (!value)
    errx(2, "%s is not set", name);
  return value;
}

static void relay(sd_journal *journal, char **fields, uint64_t most) {
  uint64_t window_s = strtoull(setting("WINDOW_S"), NULL, 10), in_batch = 0;
  DB *map = open_map(setting("MAP"), strtoull(setting("ROOM"), NULL, 10));
  int lock = open(setting("MAP"), O_RDWR | O_CLOEXEC);
  struct batch batch = new_batch(most);
  struct login login;
  bool is_login;
  while (step(journal, fields, &login, &is_login)) {
    entries++;
    if (is_login) {
      logins++;
      add(&batch, &login);
    }
    if (++in_batch == most) {
      commit(map, lock, &batch, window_s);
      sd_journal_process(journal);
      in_batch = 0;
    }
  }
  commit(map, lock, &batch, window_s);
  if (entries && sd_journal_previous(journal) >= 0 && sd_journal_next(journal) >= 0)
    save_cursor(journal, setting("CURSOR"));
  map->close(map, DB_NOSYNC);
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **words) {
  if (count < 5)
    errx(2, "usage: limit read|relay FIELDS MOST DIRECTORY MATCH...");
  char *fields[16] = {NULL};
  int named = 0;
  if (strcmp(words[2], "-") != 0)
    for (char *name = strtok(words[2], ","); name && named < 15; name = strtok(NULL, ","))
      fields[named++] = name;
  uint64_t most = strtoull(words[3], NULL, 10);
  double began = now_s();
  sd_journal *journal = open_journal(words[4], words + 5);
  check(sd_journal_seek_head(journal), "seek");
  if (strcmp(words[1], "read") == 0)
    read_only(journal, fields, most);
  else
    relay(journal, fields, most);
  printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"entries\": %" PRIu64 ", \"logins\": %" PRIu64 "}\n",
         now_s() - began, (double)clock() / CLOCKS_PER_SEC, entries, logins);
  sd_journal_close(journal);
  return 0;
}
