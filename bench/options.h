/* What the load generator is told, and how it gives up. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVERS_MAX = 16 };

/*
 * Connection i goes to port i modulo their number. `requests` is for updates, which are counted.
 * `rate` is in requests per second of all connections together; 0: as fast as replies come.
 */
struct options {
    const char *host, *area;
    const char *ports[SERVERS_MAX];
    unsigned port_count;
    unsigned connections, outstanding, value_size, keys, parents, requests;
    double warm_up, seconds, rate;
    uint64_t seed;
    long server_pids[SERVERS_MAX];
    unsigned servers;
};

static struct options options = {
    .host = "127.0.0.1", .ports = {"2181"}, .port_count = 1, .area = "keys", .connections = 1,
    .outstanding = 1, .value_size = 100, .keys = 10000, .parents = 1000, .requests = 10000,
    .warm_up = 1, .seconds = 5, .seed = 1,
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("loader: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* Cut a list at its commas; returns how many parts it has. */
static unsigned split(const char *name, char *text, const char **parts)
{
    unsigned count = 0;
    for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ",")) {
        if (count == SERVERS_MAX)
            die("--%s: more than %d", name, SERVERS_MAX);
        parts[count++] = part;
    }
    if (count == 0)
        die("--%s: nothing given", name);
    return count;
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        die("--%s: %s is not a number from %.0f to %.0f", name, text, least, most);
    return value;
}

static const char *parse_options(int count, char **arguments)
{
    static const struct option known[] = {
        {"host", 1, NULL, 'h'},        {"port", 1, NULL, 'p'},       {"area", 1, NULL, 'a'},
        {"connections", 1, NULL, 'c'}, {"outstanding", 1, NULL, 'o'}, {"value-size", 1, NULL, 'v'},
        {"keys", 1, NULL, 'k'},        {"parents", 1, NULL, 'P'},    {"warm-up", 1, NULL, 'w'},
        {"seconds", 1, NULL, 's'},     {"seed", 1, NULL, 'S'},       {"server-pid", 1, NULL, 'x'},
        {"requests", 1, NULL, 'r'},    {"rate", 1, NULL, 'R'},       {NULL, 0, NULL, 0},
    };
    const char *pids[SERVERS_MAX];
    int which, index = 0;
    while ((which = getopt_long(count, arguments, "", known, &index)) != -1) {
        const char *name = known[index].name;
        switch (which) {
        case 'h': options.host = optarg; break;
        case 'p': options.port_count = split(name, optarg, options.ports); break;
        case 'a': options.area = optarg; break;
        case 'c': options.connections = (unsigned)number(name, optarg, 1, 9999); break;
        case 'o': options.outstanding = (unsigned)number(name, optarg, 1, 10000); break;
        case 'v': options.value_size = (unsigned)number(name, optarg, 0, 65536); break;
        case 'k': options.keys = (unsigned)number(name, optarg, 1, 99999999); break;
        case 'P': options.parents = (unsigned)number(name, optarg, 1, 9999); break;
        case 'w': options.warm_up = number(name, optarg, 0, 3600); break;
        case 's': options.seconds = number(name, optarg, 0.01, 3600); break;
        case 'S': options.seed = (uint64_t)number(name, optarg, 0, 4294967295.0); break;
        case 'R': options.rate = number(name, optarg, 0, 99999999); break;
        case 'r': options.requests = (unsigned)number(name, optarg, 1, 99999999); break;
        case 'x':
            options.servers = split(name, optarg, pids);
            for (unsigned i = 0; i < options.servers; i++)
                options.server_pids[i] = (long)number(name, pids[i], 1, 2147483647.0);
            break;
        default: die("unknown option");
        }
    }
    if (optind != count - 1)
        die("usage: loader [--host H] [--port P[,P...]] [--area NAME] [--connections N] "
            "[--outstanding N] [--keys N] [--parents N] [--value-size N] [--warm-up S] "
            "[--seconds S] [--rate PER_SECOND] [--requests N] [--seed N] "
            "[--server-pid PID[,PID...]] "
            "read|write|exists|children|create|fill|update|delete");
    if (strlen(options.area) > 64)
        die("--area: at most 64 bytes");
    return arguments[optind];
}

#endif
