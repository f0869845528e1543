/* A clock that was never set, for a program that is told to load this first. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *time) {
    int answer = (int)syscall(SYS_clock_gettime, id, time);
    if (answer == 0 && id == CLOCK_REALTIME) {
        time->tv_sec -= 100L * 365 * 86400;
    }
    return answer;
}
