/* A file system that keeps no permissions, no promise to write at once, and no locks. Preloaded, these calls are refused
   for files below the folder that the variable REFUSING names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int below(const char *path) {
    const char *folder = getenv("REFUSING");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int open_below(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

static int path_below(const char *path) {
    char whole[4096];
    return below(realpath(path, whole) ? whole : path);
}

#define REFUSE(condition, why) if (condition) { errno = why; return -1; }
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int chmod(const char *path, mode_t mode) {
    REFUSE(path_below(path), EPERM);
    return NEXT(chmod)(path, mode);
}
int fchmod(int file, mode_t mode) {
    REFUSE(open_below(file), EPERM);
    return NEXT(fchmod)(file, mode);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    REFUSE(path_below(path), EPERM);
    return NEXT(fchmodat)(folder, path, mode, flags);
}
int fsync(int file) {
    REFUSE(open_below(file), EINVAL);
    return NEXT(fsync)(file);
}
int fdatasync(int file) {
    REFUSE(open_below(file), EINVAL);
    return NEXT(fdatasync)(file);
}
int flock(int file, int operation) {
    REFUSE(open_below(file), ENOLCK);
    return NEXT(flock)(file, operation);
}
