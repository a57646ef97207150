/* The bare hops in C: hops RATE SECONDS DIRECTORY; see three_processes.py.
 * The latencies go to standard output, as 64-bit words. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 8192 };
static int64_t batch[BATCH];
static long ticks;

static void must(int ok, const char *what) {
    if (!ok) { perror(what); _exit(1); }
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int waiting_for(int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return epoll;
}

static void wait_on(int epoll) {
    struct epoll_event event;
    must(epoll_wait(epoll, &event, 1, -1) == 1, "epoll_wait");
}

static long receive(int sock, int epoll) {
    wait_on(epoll);
    ssize_t got = recv(sock, batch, sizeof batch, 0);
    must(got >= 0 && got % 8 == 0, "recv");
    return got / 8;
}

static void produce(int sock, double rate) {
    int64_t start = now_ns(), due;
    int idle = epoll_create1(0);
    for (long sent = 0, count; sent < ticks; sent += count) {
        while ((due = start + (int64_t)((sent + 1) * 1e9 / rate) + 1 - now_ns()) > 0) {
            struct timeval wait = {due / 1000000000, due % 1000000000 / 1000};
            fd_set files;
            FD_ZERO(&files);
            FD_SET(idle, &files);
            select(idle + 1, &files, NULL, NULL, &wait);
        }
        int64_t now = now_ns();
        count = (long)((now - start) * rate / 1e9) - sent;
        count = count < 1 ? 1 : count > BATCH ? BATCH : count;
        if (count > ticks - sent) count = ticks - sent;
        now = now_ns();
        for (long tick = 0; tick < count; tick++) batch[tick] = now;
        must(send(sock, batch, count * 8, 0) == count * 8, "send");
    }
}

static void relay(int sock, volatile int64_t *words, int fifo) {
    int epoll = waiting_for(sock);
    long count, stored = 0;
    while ((count = receive(sock, epoll)) > 0) {
        for (long tick = 0; tick < count; tick++) words[stored++] = batch[tick];
        must(write(fifo, "", 1) == 1, "write");
    }
}

static void consume(volatile int64_t *words, int fifo) {
    int64_t *latencies = malloc(ticks * 8), sent;
    int epoll = waiting_for(fifo);
    long had = 0;
    while (had < ticks) {
        char drained[4096];
        wait_on(epoll);
        must(read(fifo, drained, sizeof drained) > 0, "read");
        while (had < ticks && (sent = words[had])) latencies[had++] = now_ns() - sent;
    }
    must(fwrite(latencies, 8, had, stdout) == (size_t)had && !fflush(stdout), "stdout");
}

static int child(void) { /* 0 in the child, which dies with its parent */
    pid_t parent = getpid(), pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent, "prctl");
    return pid;
}

int main(int count, char **arguments) {
    must(count == 4, "usage: hops RATE SECONDS DIRECTORY");
    int one = 1, status;
    double rate = atof(arguments[1]);
    ticks = (long)(rate * atof(arguments[2]) + 0.5);
    must(ticks > 0 && chdir(arguments[3]) == 0, arguments[3]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM, 0), sock = socket(AF_INET, SOCK_STREAM, 0), sock_in;
    must(bind(server, (struct sockaddr *)&address, length) == 0 && listen(server, 1) == 0, "listen");
    must(getsockname(server, (struct sockaddr *)&address, &length) == 0, "getsockname");
    must(connect(sock, (struct sockaddr *)&address, length) == 0, "connect");
    must((sock_in = accept4(server, NULL, NULL, SOCK_NONBLOCK)) >= 0, "accept");
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int file = open("words", O_RDWR), fifo = open("fifo", O_RDWR | O_NONBLOCK);
    int64_t *words = mmap(NULL, (ticks + 1) * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    must(words != MAP_FAILED && fifo >= 0, "words, fifo");
    if (child() == 0) {
        close(sock);
        consume(words, fifo);
        return 0;
    }
    if (child() == 0) {
        close(sock);
        relay(sock_in, words, fifo);
        return 0;
    }
    produce(sock, rate);
    close(sock);
    while (wait(&status) > 0) must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child");
    return 0;
}
