/* Look addresses up as sendmail does: the map held open, flock(LOCK_SH) on the file for each lookup,
   opened again when its time of change, in whole seconds, is newer (sendmail/map.c).

   lookups MAP PAUSE_US KEY...   until standard input ends; asks for the keys in turn

   Prints how many lookups there were, how many found nothing, and in ms the longest, the 99.9th
   percentile of the waits for the lock, and the median of a whole lookup. */

#include <db.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static DB *map;
static int fd;
static time_t opened;

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* The map is locked when this returns, through the descriptor of the file that is open. */
static void open_map(const char *path) {
  struct stat status;
  if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 || flock(fd, LOCK_SH) || fstat(fd, &status))
    err(1, "%s", path);
  opened = status.st_mtime;
  if (db_create(&map, NULL, 0) || map->open(map, NULL, path, NULL, DB_HASH, DB_RDONLY, 0))
    errx(1, "%s: not to be opened", path);
}

static void open_if_newer(const char *path) {
  struct stat status;
  if (fstat(fd, &status))
    err(1, "%s", path);
  if (status.st_mtime <= opened)
    return;
  map->close(map, DB_NOSYNC);
  close(fd);
  open_map(path);
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

int main(int count, char **words) {
  if (count < 4)
    errx(2, "usage: lookups MAP PAUSE_US KEY...");
  size_t most = 4000000, done = 0, missed = 0;
  float *waits = calloc(most, sizeof *waits), *took = calloc(most, sizeof *took);
  struct pollfd input = {.fd = 0, .events = POLLIN};
  if (!waits || !took)
    err(1, "memory");
  open_map(words[1]);
  flock(fd, LOCK_UN);
  while (done < most && poll(&input, 1, 0) == 0) {
    char *word = words[3 + done % (count - 3)];
    DBT key = {.data = word, .size = strlen(word)}, value = {0};
    double began = now_ms();
    if (flock(fd, LOCK_SH))
      err(1, "flock");
    waits[done] = now_ms() - began;
    open_if_newer(words[1]);
    missed += map->get(map, NULL, &key, &value, 0) != 0;
    flock(fd, LOCK_UN);
    took[done++] = now_ms() - began;
    usleep(atoi(words[2]));
  }
  if (done == 0)
    errx(1, "no lookup");
  qsort(waits, done, sizeof *waits, by_size);
  qsort(took, done, sizeof *took, by_size);
  printf("{\"lookups\": %zu, \"missed\": %zu, \"longest\": %.3f, \"p999\": %.3f, \"median\": %.4f}\n",
         done, missed, waits[done - 1], waits[(size_t)(done * 0.999)], took[done / 2]);
  return 0;
}
