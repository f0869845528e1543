// What the emulator's own tests are written with: a line for each thing checked, and a look at what a wrong program reports.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

inline int failures = 0;

inline void check(bool good, const char* what) {
    printf("%s  %s\n", good ? "ok    " : "FAILED", what);
    failures += !good;
}

// Runs `wrong` in a process of its own, which it must end, and looks for all parts in what it writes to standard error.
// To be called while there is one thread: a forked child has none of its parent's others.
inline void check_report(const std::function<void()>& wrong, const std::vector<const char*>& parts, const char* what) {
    int ends[2];
    if (pipe(ends) != 0) abort();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        wrong();
        _exit(0);
    }
    close(ends[1]);
    std::string text;
    char part[4096];
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) text.append(part, n);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    bool all = status != 0;
    for (const char* wanted : parts) all &= text.find(wanted) != std::string::npos;
    check(all, what);
    if (!all) printf("        it said: %s\n", text.c_str());
}
