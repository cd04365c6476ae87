/* SPDX-License-Identifier: GPL-2.0 */
/* What the benchmark's parts share: the clock, the samples, maps and sockets.
 *
 * The clock is the time stamp counter. Under QEMU's -icount shift=0 it goes up by one
 * per instruction, whatever the host does meanwhile. System calls are made right here
 * and not by way of a library, so that a sample is the kernel's share and nothing else.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <linux/bpf.h>

#define GROUP		16	/* sockets that share an address */
#define CLIENT_PORT	900
#define SAMPLES		128	/* of packets */
#define WARM_UP		16

#define REUSEPORT	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY
#define SOCKMAP		BPF_MAP_TYPE_SOCKMAP
#define SOCKHASH	BPF_MAP_TYPE_SOCKHASH

typedef uint64_t u64;
typedef uint32_t u32;

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *format, ...);

/* Leave when a call that has to work does not. */
#define must(call) ({							\
	__typeof__(call) __r = (call);					\
									\
	if (__r < 0)							\
		die("%s:%d: %s: %s", __FILE__, __LINE__, #call,		\
		    error_name(__r == -1 ? 0 : -__r));			\
	__r;								\
})
const char *error_name(long error);	/* 0: what errno says */

static inline u64 now(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (u64)high << 32 | low;
}

/* The kernel's answer, a negative error number included. */
static inline long call3(long number, long a, long b, long c)
{
	long result;

	asm volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return result;
}

static inline long call_bpf(int command, union bpf_attr *attr, u32 size)
{
	return call3(__NR_bpf, command, (long)attr, size);
}

/* What a call of libbpf's passes as the size of its part of union bpf_attr */
#define ATTR_SIZE(last)	(offsetof(union bpf_attr, last) + sizeof(((union bpf_attr *)0)->last))

/* Samples of one thing, in instructions */
struct series {
	u64 *samples;
	u32 count, room;
	u64 longest;
};

void clock_check(bool exact);
void quiet(u64 need);
void settle(void);
void sample(struct series *s, u64 instructions);
/* Write the result down: mean, median and extremes, each divided by @per. */
void report(struct series *s, const char *row, const char *map, u32 size, u32 per);
void skip(const char *row, const char *map, u32 size);

extern u64 clock_cost;

/* Take a sample of @call. It begins far enough from the next timer tick. */
#define MEASURE(series, call) ({					\
	u64 __begin, __end;						\
	long __result;							\
									\
	quiet((series)->longest);					\
	__begin = now();						\
	__result = (call);						\
	__end = now();							\
	sample(series, __end - __begin - clock_cost);			\
	__result;							\
})

const char *map_name(int type);
int map_create(int type, u32 slots);
int map_create_outer(int inner);
long map_update(int map, u32 slot, int fd);
long map_delete(int map, u32 slot);
void map_fill(int map, const int *sockets, u32 count);
void map_clear(int map, u32 slots);

/* @count sockets that a reuseport map takes: one group of GROUP per port, the first
 * port is @port. @type: SOCK_DGRAM (bound) or SOCK_STREAM (listening).
 */
int *sockets_open(int type, u32 count, int port);
void sockets_close(int *sockets, u32 count);

int program_pass(void);
int program_select(int map, u32 slot);
int program_select_nested(int outer, u32 slot);
int program_lookup(int map, u32 slot);

int client_open(int type, int from, int port);
/* Packets of a client to socket @index of a group, or to any (-1). */
void measure_packets(int type, u32 size, const int *group, int port, int index,
		     const char *what, const char *map, const void *packet, u32 len);
void expect(const int *group, int index, bool stream, const char *row);

/* The rows, each with its sizes */
void bench_select(int type, u32 size);
void bench_lookup(u32 size);
void bench_service(int type, u32 size);
void bench_quic(u32 size);
void bench_calls(u32 size);
void bench_batch(u32 size);
void bench_close(int type, u32 size);
void bench_hold(u32 size);
void bench_free(u32 size);
void bench_memory(void);
void bench_parallel(void);

#endif
