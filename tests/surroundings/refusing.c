/* A file system that keeps no permissions, no promise to write at once, and no locks: preloaded, these say so. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(int why) { errno = why; return -1; }

int chmod(const char *path, mode_t mode) { return refuse(EPERM); }
int fchmod(int file, mode_t mode) { return refuse(EPERM); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { return refuse(EPERM); }
int fsync(int file) { return refuse(EINVAL); }
int fdatasync(int file) { return refuse(EINVAL); }
int flock(int file, int operation) { return refuse(ENOLCK); }
