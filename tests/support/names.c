/* Host names that mean something else to each process: preloaded before libc's resolver.
 *
 * TEST_HOSTS holds name=address pairs with commas between them. A name that stands there is
 * looked up as its address; every other name goes to libc as it came.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static const char *address_of(const char *name, char *room, size_t size)
{
    const char *entry = getenv("TEST_HOSTS");
    size_t length = strlen(name);
    while (entry != NULL && *entry != '\0') {
        const char *end = strchr(entry, ',');
        int chars = (int)(end != NULL ? (size_t)(end - entry) : strlen(entry));
        if ((size_t)chars > length && entry[length] == '=' && !strncmp(entry, name, length)) {
            int value = chars - (int)length - 1;
            snprintf(room, size, "%.*s", value, entry + length + 1);
            return room;
        }
        entry = end != NULL ? end + 1 : NULL;
    }
    return name;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    char room[64];
    resolver *next = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    return next(name == NULL ? NULL : address_of(name, room, sizeof room), service, hints, found);
}
