/*
 * A load generator for the ZooKeeper client protocol: one thread, epoll.
 *
 * Without a rate the loop is closed: a connection keeps its requests outstanding. With --rate it is
 * open: each connection is due to send as many at once at random times that do not depend on the
 * replies (a Poisson process, as clients are that know nothing of each other), and latency counts
 * from then on. What is due while the connection has no room waits, and that counts, too.
 *
 * It shares the machine with the server it measures, so it does as little as it can: frames are
 * built once and only their xid and path digits change, a wake-up costs one recv and one send per
 * connection however many requests are in flight, and of a reply only length, xid and error are
 * read. Any error, reordering or lost connection ends the run with a message and status 1.
 *
 * Paths are /bench/AREA/pPPPP/nNNNNNNNN. The result is one JSON object on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "options.h"

enum { OP_CREATE = 1, OP_DELETE = 2, OP_EXISTS = 3, OP_READ = 4, OP_WRITE = 5, OP_CHILDREN = 8 };
enum { OP_CLOSE_SESSION = -11, ERR_NODE_EXISTS = -110 };
enum {
    SESSION_TIMEOUT_MS = 40000,
    STALL_SECONDS = 30,
    IN_CAPACITY = 256 * 1024,
    HEADER = 20, /* length word and reply header */
    FRAME_OVERHEAD = 256,
    EVENTS = 256,
};

/* Which path the next request names. */
enum pick {
    PICK_RANDOM,         /* any of the keys */
    PICK_SEQUENCE,       /* key 0, 1, 2 ... and again, shared by all connections */
    PICK_PER_CONNECTION, /* fresh names, one parent per connection */
};

/* One kind of request, sent until the time or the count is used up. */
struct job {
    int op;
    enum pick pick;
    bool leaf;      /* the path has the nNNNNNNNN part */
    uint64_t limit; /* 0: until `until` */
    uint64_t keys;
    uint64_t issued;
    size_t frame_size;
    size_t digits; /* where pPPPP starts in a frame; 0: the path never changes */
    int tolerated; /* an error code that counts as success */
    unsigned char frame[FRAME_OVERHEAD + 65536];
};

struct connection {
    int fd;
    unsigned index;
    uint32_t next_xid, expected_xid;
    uint32_t serial;
    bool wants_write;
    size_t out_from, out_to;
    size_t in_used;
    uint64_t *sent_at;  /* ring, by xid; with a rate when each was due */
    uint64_t due, next_due; /* with a rate: of what is to be sent, and of what follows */
    unsigned due_count; /* how many were due at `due` and are not sent */
    unsigned char *out; /* `outstanding` frames of the job at hand */
    unsigned char *in;
};

static struct job job;
static struct connection *connections;
static int poller;
static uint64_t random_state;

/* The measurement: replies that arrive after `begin` and up to `until`. */
static uint64_t begin, until;
static bool measuring, finished;
static struct histogram latency;
static uint64_t reply_bytes;
static struct usage usage_begin, usage_end;

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        die("out of memory");
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t get32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

static void put32(unsigned char *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Open or close the measurement when `now` crosses its borders; true while replies count. */
static bool in_measurement(uint64_t now)
{
    if (measuring && now <= until)
        return true;
    if (!measuring && !finished && now >= begin) {
        measuring = true;
        usage_begin = usage_now(options.server_pids, options.servers);
        return now <= until;
    }
    if (measuring && now > until) {
        measuring = false;
        finished = true;
        usage_end = usage_now(options.server_pids, options.servers);
    }
    return false;
}

/* ---- sessions, one request at a time ------------------------------------------------------ */

static void send_all(struct connection *c, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            die("connection %u: send: %s", c->index, strerror(errno));
        bytes += sent;
        size -= (size_t)sent;
    }
}

/* Wait for one whole frame, length word included; returns its size. */
static size_t receive_frame(struct connection *c, unsigned char *frame, size_t capacity)
{
    size_t have = 0, want = 4;
    while (have < want) {
        ssize_t got = recv(c->fd, frame + have, want - have, 0);
        if (got == 0)
            die("connection %u: server closed it during set-up", c->index);
        if (got < 0)
            die("connection %u: no answer during set-up: %s", c->index, strerror(errno));
        have += (size_t)got;
        if (have == 4 && want == 4) {
            want = 4 + (size_t)get32(frame);
            if (want > capacity)
                die("connection %u: a frame of %zu bytes during set-up", c->index, want - 4);
        }
    }
    return want;
}

static int open_socket(const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int failed = getaddrinfo(options.host, port, &hints, &found);
    if (failed)
        die("%s:%s: %s", options.host, port, gai_strerror(failed));
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        die("%s:%s: %s", options.host, port, strerror(errno));
    freeaddrinfo(found);
    int on = 1, buffer = 1 << 20;
    struct timeval patience = {.tv_sec = STALL_SECONDS};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static void open_session(struct connection *c, unsigned index)
{
    unsigned char request[49] = {0}, answer[64];
    c->index = index;
    c->fd = open_socket(options.ports[index % options.port_count]);
    c->next_xid = c->expected_xid = 1;
    c->sent_at = allocate(options.outstanding, sizeof *c->sent_at);
    c->in = allocate(1, IN_CAPACITY);
    put32(request, sizeof request - 4);
    put32(request + 16, SESSION_TIMEOUT_MS);
    put32(request + 28, 16);
    send_all(c, request, sizeof request);
    size_t size = receive_frame(c, answer, sizeof answer);
    if (size < 40 || (!get32(answer + 12) && !get32(answer + 16))) /* session id 0 */
        die("connection %u: the server refused a session", index);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void close_sessions(void)
{
    unsigned char request[12], answer[64];
    for (unsigned i = 0; i < options.connections; i++) {
        put32(request, 8);
        put32(request + 4, connections[i].next_xid);
        put32(request + 8, (uint32_t)OP_CLOSE_SESSION);
        send_all(&connections[i], request, sizeof request);
    }
    for (unsigned i = 0; i < options.connections; i++) {
        receive_frame(&connections[i], answer, sizeof answer);
        if (get32(answer + 4) != connections[i].next_xid || get32(answer + 16) != 0)
            die("connection %u: bad answer to closeSession", i);
        close(connections[i].fd);
    }
}

/* ---- frames ------------------------------------------------------------------------------- */

static size_t put_bytes(size_t at, const void *bytes, size_t size)
{
    put32(job.frame + at, (uint32_t)size);
    memcpy(job.frame + at + 4, bytes, size);
    return at + 4 + size;
}

/* Build the frame that every request of the job starts from; `path` holds the digits as zeros. */
static void build_frame(int op, const char *path, size_t digits)
{
    static const unsigned char open_acl[] =
        "\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone\0\0\0\0"; /* and flags 0 */
    static unsigned char value[65536];
    job.op = op;
    for (unsigned i = 0; i < options.value_size; i++)
        value[i] = (unsigned char)next_random();
    put32(job.frame + 8, (uint32_t)op);
    size_t at = put_bytes(12, path, strlen(path));
    job.digits = digits ? 16 + digits : 0;
    if (op == OP_CREATE || op == OP_WRITE)
        at = put_bytes(at, value, job.leaf ? options.value_size : 0);
    if (op == OP_CREATE) {
        memcpy(job.frame + at, open_acl, sizeof open_acl - 1);
        at += sizeof open_acl - 1;
    } else if (op == OP_WRITE || op == OP_DELETE) {
        put32(job.frame + at, UINT32_MAX); /* any version */
        at += 4;
    } else {
        job.frame[at++] = 0; /* no watch */
    }
    put32(job.frame, (uint32_t)(at - 4));
    job.frame_size = at;
}

static void put_digits(unsigned char *at, uint32_t value, unsigned width)
{
    while (width > 0) {
        at[--width] = (unsigned char)('0' + value % 10);
        value /= 10;
    }
}

static void prepare_request(struct connection *c, unsigned char *frame, uint32_t xid)
{
    uint32_t parent, leaf;
    put32(frame + 4, xid);
    if (job.digits == 0)
        return;
    if (job.pick == PICK_PER_CONNECTION) {
        parent = c->index;
        leaf = c->serial++;
    } else {
        leaf = job.pick == PICK_RANDOM
                   ? (uint32_t)(((next_random() >> 32) * (uint64_t)options.keys) >> 32)
                   : (uint32_t)(job.issued % job.keys);
        parent = leaf % options.parents;
    }
    put_digits(frame + job.digits, parent, 4);
    if (job.leaf)
        put_digits(frame + job.digits + 6, leaf, 8);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static void watch_writable(struct connection *c, bool on)
{
    if (c->wants_write == on)
        return;
    c->wants_write = on;
    struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* Send what is built; false when the socket is full and the rest has to wait. */
static bool flush(struct connection *c)
{
    while (c->out_from < c->out_to) {
        ssize_t sent = send(c->fd, c->out + c->out_from, c->out_to - c->out_from,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch_writable(c, true);
            return false;
        }
        if (sent < 0)
            die("connection %u: send: %s after %u replies", c->index, strerror(errno),
                c->expected_xid - 1);
        c->out_from += (size_t)sent;
    }
    watch_writable(c, false);
    return true;
}

/* The time between two of a connection's bursts: random, on average what makes the rate. */
static uint64_t random_interval(void)
{
    double mean = 1e9 * options.connections * options.outstanding / options.rate;
    double uniform = ((double)(next_random() >> 11) + 0.5) / (double)(1ull << 53);
    return (uint64_t)(-log(uniform) * mean);
}

/* Whether there is another request to send; `c->due` says since when. */
static bool is_due(struct connection *c, uint64_t now)
{
    if (job.limit || options.rate == 0) {
        c->due = now;
        return job.limit ? job.issued < job.limit : now < until;
    }
    if (c->due_count == 0 && c->next_due <= now && c->next_due < until) {
        c->due = c->next_due;
        c->due_count = options.outstanding;
        c->next_due += random_interval();
    }
    if (c->due_count == 0)
        return false;
    c->due_count--;
    return true;
}

/* Fill the connection up to its outstanding requests, in one send. */
static void issue(struct connection *c, uint64_t now)
{
    if (c->out_from < c->out_to && !flush(c))
        return;
    unsigned room = options.outstanding - (c->next_xid - c->expected_xid);
    unsigned char *frame = c->out;
    for (; room > 0 && is_due(c, now); room--) {
        prepare_request(c, frame, c->next_xid);
        c->sent_at[c->next_xid++ % options.outstanding] = c->due;
        job.issued++;
        frame += job.frame_size;
    }
    c->out_from = 0;
    c->out_to = (size_t)(frame - c->out);
    flush(c);
}

/* Take the whole replies out of the input buffer; returns how many there were. */
static unsigned take_replies(struct connection *c, uint64_t now)
{
    size_t at = 0;
    unsigned taken = 0;
    bool arrives = in_measurement(now);
    while (c->in_used - at >= HEADER) {
        const unsigned char *frame = c->in + at;
        uint32_t size = get32(frame), xid = get32(frame + 4);
        int32_t error = (int32_t)get32(frame + 16);
        if (size < HEADER - 4 || size > IN_CAPACITY - 4)
            die("connection %u: a reply of %u bytes", c->index, size);
        if (c->in_used - at < 4 + (size_t)size)
            break;
        if (c->expected_xid == c->next_xid || xid != c->expected_xid)
            die("connection %u: reply with xid %d, expected %u", c->index, (int32_t)xid,
                c->expected_xid);
        if (error != 0 && error != job.tolerated)
            die("connection %u: operation %d, xid %u: error %d", c->index, job.op, xid, error);
        uint64_t due = c->sent_at[xid % options.outstanding];
        /* With a rate what was due counts however late it is; else latency would hide a stall. */
        bool counts = options.rate == 0 || job.limit ? arrives : due >= begin;
        if (counts)
            histogram_add(&latency, now - due);
        reply_bytes += counts ? size + 4 : 0;
        c->expected_xid++;
        at += 4 + (size_t)size;
        taken++;
    }
    c->in_used -= at;
    if (c->in_used > 0 && at > 0)
        memmove(c->in, c->in + at, c->in_used);
    return taken;
}

static unsigned on_readable(struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_used, IN_CAPACITY - c->in_used, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        die("connection %u: %s after %u replies, %u requests unanswered", c->index,
            got == 0 ? "server closed it" : strerror(errno), c->expected_xid - 1,
            c->next_xid - c->expected_xid);
    c->in_used += (size_t)got;
    uint64_t now = now_ns();
    unsigned taken = take_replies(c, now);
    if (taken > 0)
        issue(c, now);
    return taken;
}

/* Send what is due, with a rate; returns when there is something to do next, at most until the
 * stall limit. */
static uint64_t issue_due(uint64_t now)
{
    uint64_t next = now + STALL_SECONDS * 1000000000ull;
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        bool has_room = c->next_xid - c->expected_xid < options.outstanding && !c->wants_write;
        if (has_room && c->next_due <= now)
            issue(c, now);
        has_room = c->next_xid - c->expected_xid < options.outstanding && !c->wants_write;
        if (has_room && c->next_due < until && c->next_due < next)
            next = c->next_due;
    }
    return now < until && until < next ? until : next;
}

/* Wait for replies, or until something is due; returns how many events there are. */
static int wait_for_events(struct epoll_event *events, bool is_open, uint64_t answered)
{
    uint64_t now = now_ns(), next = now + STALL_SECONDS * 1000000000ull;
    uint64_t stalls = next;
    if (is_open)
        next = issue_due(now);
    uint64_t left = next > now ? next - now : 0;
    struct timespec patience = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    int ready = epoll_pwait2(poller, events, EVENTS, &patience, NULL);
    if (ready < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    if (ready == 0 && next >= stalls)
        die("no reply for %d s, %lu requests unanswered", STALL_SECONDS,
            (unsigned long)(job.issued - answered));
    return ready;
}

/* Run the job to its end: every request sent is answered when this returns. */
static void run_job(void)
{
    struct epoll_event events[EVENTS];
    uint64_t answered = 0, now = now_ns();
    bool is_open = options.rate > 0 && job.limit == 0;
    job.issued = 0;
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        c->serial = 0;
        c->out = realloc(c->out, options.outstanding * job.frame_size);
        if (c->out == NULL)
            die("out of memory");
        for (unsigned n = 0; n < options.outstanding; n++)
            memcpy(c->out + n * job.frame_size, job.frame, job.frame_size);
        c->next_due = is_open ? now + random_interval() : now;
        issue(c, now);
    }
    while (answered < job.issued || (is_open && now_ns() < until)) {
        int ready = wait_for_events(events, is_open, answered);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                issue(c, now_ns());
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                answered += on_readable(c);
        }
    }
}

/* ---- modes -------------------------------------------------------------------------------- */

/* Run the job for warm-up and measurement, or (with a limit) measure it from start to end. */
static double run_measured(void)
{
    uint64_t start = now_ns();
    begin = job.limit ? start : start + (uint64_t)(options.warm_up * 1e9);
    until = job.limit ? UINT64_MAX : begin + (uint64_t)(options.seconds * 1e9);
    measuring = finished = false;
    run_job();
    if (job.limit) {
        usage_end = usage_now(options.server_pids, options.servers);
        return (double)(now_ns() - start) / 1e9;
    }
    in_measurement(UINT64_MAX);
    return options.seconds;
}

static void create_unmeasured(const char *path, size_t digits, uint64_t count, int tolerated)
{
    job = (struct job){
        .pick = PICK_SEQUENCE, .limit = count, .keys = count, .tolerated = tolerated};
    build_frame(OP_CREATE, path, digits);
    begin = UINT64_MAX;
    finished = true;
    run_job();
}

/* Make /bench, the area and its parents; the parents must be new. */
static void make_parents(const char *area, const char *parent, uint64_t count)
{
    unsigned parents = options.parents;
    options.parents = (unsigned)count;
    create_unmeasured("/bench", 0, 1, ERR_NODE_EXISTS);
    create_unmeasured(area, 0, 1, ERR_NODE_EXISTS);
    create_unmeasured(parent, strlen(area) + 2, count, 0);
    options.parents = parents;
}

static double run_mode(const char *mode)
{
    static const struct {
        const char *name;
        int op;
        enum pick pick;
        bool leaf, counted, parents;
    } modes[] = {
        {"read", OP_READ, PICK_RANDOM, true, false, false},
        {"write", OP_WRITE, PICK_RANDOM, true, false, false},
        {"exists", OP_EXISTS, PICK_RANDOM, true, false, false},
        {"children", OP_CHILDREN, PICK_RANDOM, false, false, false},
        {"create", OP_CREATE, PICK_PER_CONNECTION, true, false, true},
        {"fill", OP_CREATE, PICK_SEQUENCE, true, true, true},
        {"update", OP_WRITE, PICK_SEQUENCE, true, true, false},
        {"delete", OP_DELETE, PICK_SEQUENCE, true, true, false},
    };
    char area[128], parent[160], leaf[192];
    snprintf(area, sizeof area, "/bench/%s", options.area);
    snprintf(parent, sizeof parent, "%s/p0000", area);
    snprintf(leaf, sizeof leaf, "%s/n00000000", parent);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, mode) != 0)
            continue;
        bool own_parents = modes[i].pick == PICK_PER_CONNECTION;
        if (modes[i].parents)
            make_parents(area, parent, own_parents ? options.connections : options.parents);
        job = (struct job){.pick = modes[i].pick, .leaf = modes[i].leaf, .keys = options.keys};
        if (modes[i].counted)
            job.limit = modes[i].op == OP_WRITE ? options.requests : options.keys;
        build_frame(modes[i].op, modes[i].leaf ? leaf : parent, strlen(area) + 2);
        return run_measured();
    }
    die("unknown mode %s", mode);
}

static void print_result(const char *mode, double seconds)
{
    double operations = (double)latency.count, each = operations > 0 ? operations : 1;
    double loader = usage_end.loader - usage_begin.loader;
    double server = usage_end.server - usage_begin.server;
    double others = usage_end.machine - usage_begin.machine - loader - server;
    printf("{\"mode\": \"%s\", \"connections\": %u, \"outstanding\": %u, \"seconds\": %.6f, "
           "\"operations\": %.0f, \"per_second\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"mean_us\": %.1f, \"reply_bytes\": %.1f, "
           "\"loader_cores\": %.3f, \"server_cores\": %.3f, \"first_server_cores\": %.3f, "
           "\"other_cores\": %.3f}\n",
           mode, options.connections, options.outstanding, seconds, operations,
           operations / seconds, histogram_us(&latency, 0.5), histogram_us(&latency, 0.99),
           histogram_us(&latency, 0.999), (double)latency.max / 1000,
           (double)latency.sum / each / 1000, (double)reply_bytes / each, loader / seconds,
           server / seconds, (usage_end.first_server - usage_begin.first_server) / seconds,
           (others > 0 ? others : 0) / seconds);
}

int main(int count, char **arguments)
{
    const char *mode = parse_options(count, arguments);
    random_state = (options.seed + 1) * 0x9E3779B97F4A7C15ull;
    prctl(PR_SET_TIMERSLACK, 1ul); /* nanoseconds: what is due shall be sent then */
    poller = epoll_create1(0);
    if (poller < 0)
        die("epoll_create1: %s", strerror(errno));
    connections = allocate(options.connections, sizeof *connections);
    for (unsigned i = 0; i < options.connections; i++)
        open_session(&connections[i], i);
    double seconds = run_mode(mode);
    close_sessions();
    print_result(mode, seconds);
    return 0;
}
