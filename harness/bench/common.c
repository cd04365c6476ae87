// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include "linux/filter.h"

#include "common.h"

#define TICK		4000000		/* instructions; HZ=250 */
#define TICK_WORK	300		/* a gap in user space that long is the tick */

u64 clock_cost;
static u64 last_tick;

void die(const char *format, ...)
{
	va_list arguments;

	fputs("bench: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

const char *error_name(long error)
{
	return strerror(error ? error : errno);
}

/* Go on at the next tick, when the kernel is done with it. */
static void pass_tick(void)
{
	u64 limit = now() + 3 * TICK, before, after = now();

	do {
		before = after;
		after = now();
	} while (after - before < TICK_WORK && after < limit);
	last_tick = before;
}

void quiet(u64 need)
{
	need += need / 4 + 20000;
	if (need < TICK / 2 && TICK - (now() - last_tick) % TICK < need)
		pass_tick();
}

/* Let the kernel finish what it has put off: grace periods, freeing, workers. */
void settle(void)
{
	for (int i = 0; i < 10; i++)
		usleep(20000);
	pass_tick();
}

static __attribute__((noinline)) u64 spin(u64 rounds)
{
	u64 begin = now();

	asm volatile("1: dec %0; jnz 1b" : "+r"(rounds));
	return now() - begin;
}

/* Is it true that the clock counts instructions? @exact: it has to be. */
void clock_check(bool exact)
{
	u64 begin;

	pass_tick();
	quiet(100000);
	begin = now();
	clock_cost = now() - begin;
	if (exact && (spin(2000) - spin(1000) != 2000 || spin(20000) - spin(1000) != 38000))
		die("the clock does not count instructions; boot with harness/guest/boot -i");
}

void sample(struct series *s, u64 instructions)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->samples = realloc(s->samples, s->room * sizeof(*s->samples));
		if (!s->samples)
			die("out of memory");
		/* Page faults now, not inside a later sample. */
		memset(s->samples + s->count, 0, (s->room - s->count) * sizeof(*s->samples));
	}
	s->samples[s->count++] = instructions;
	if (instructions > s->longest)
		s->longest = instructions;
}

static int ascending(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

void report(struct series *s, const char *row, const char *map, u32 size, u32 per)
{
	double sum = 0;

	qsort(s->samples, s->count, sizeof(*s->samples), ascending);
	for (u32 i = 0; i < s->count; i++)
		sum += s->samples[i];
	printf("%s\t%s\t%u\t%u\t%.2f\t%.2f\t%.2f\t%.2f\n", row, map, size, s->count,
	       sum / s->count / per, 1.0 * s->samples[s->count / 2] / per,
	       1.0 * s->samples[0] / per, 1.0 * s->samples[s->count - 1] / per);
	fflush(stdout);
	free(s->samples);
	*s = (struct series){};
}

void skip(const char *row, const char *map, u32 size)
{
	printf("%s\t%s\t%u\t0\n", row, map, size);
	fflush(stdout);
}

const char *map_name(int type)
{
	return type == SOCKMAP ? "sockmap" : type == SOCKHASH ? "sockhash" : "map";
}

int map_create(int type, u32 slots)
{
	union bpf_attr attr = {
		.map_type = type,
		.key_size = sizeof(u32),
		.value_size = sizeof(u64),
		.max_entries = slots,
	};

	return must(call_bpf(BPF_MAP_CREATE, &attr, sizeof(attr)));
}

int map_create_outer(int inner)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
		.key_size = sizeof(u32),
		.value_size = sizeof(u32),
		.max_entries = 1,
		.inner_map_fd = inner,
	};
	int outer = must(call_bpf(BPF_MAP_CREATE, &attr, sizeof(attr)));

	must(map_update(outer, 0, inner));
	return outer;
}

long map_update(int map, u32 slot, int fd)
{
	u64 value = fd;
	union bpf_attr attr = {
		.map_fd = map,
		.key = (long)&slot,
		.value = (long)&value,
	};

	return call_bpf(BPF_MAP_UPDATE_ELEM, &attr, ATTR_SIZE(flags));
}

long map_delete(int map, u32 slot)
{
	union bpf_attr attr = {
		.map_fd = map,
		.key = (long)&slot,
	};

	return call_bpf(BPF_MAP_DELETE_ELEM, &attr, ATTR_SIZE(flags));
}

void map_fill(int map, const int *sockets, u32 count)
{
	for (u32 i = 0; i < count; i++)
		must(map_update(map, i, sockets[i]));
}

void map_clear(int map, u32 slots)
{
	for (u32 i = 0; i < slots; i++)
		must(map_delete(map, i));
}

int *sockets_open(int type, u32 count, int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int *sockets = malloc(count * sizeof(*sockets)), one = 1;

	if (!sockets)
		die("out of memory");
	for (u32 i = 0; i < count; i++) {
		address.sin_port = htons(port + i / GROUP);
		sockets[i] = must(socket(AF_INET, type | SOCK_NONBLOCK, 0));
		must(setsockopt(sockets[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
		must(bind(sockets[i], (void *)&address, sizeof(address)));
		if (type == SOCK_STREAM)
			must(listen(sockets[i], 16));
	}
	return sockets;
}

void sockets_close(int *sockets, u32 count)
{
	for (u32 i = 0; i < count; i++)
		close(sockets[i]);
	free(sockets);
	settle();
}

static long program_try_load(int type, const struct bpf_insn *instructions, size_t size, char *log,
			     size_t log_size)
{
	union bpf_attr attr = {
		.prog_type = type,
		.expected_attach_type = type == BPF_PROG_TYPE_SK_LOOKUP ? BPF_SK_LOOKUP : 0,
		.insns = (long)instructions,
		.insn_cnt = size / sizeof(*instructions),
		.license = (long)"GPL",
		.log_buf = (long)log,
		.log_size = log_size,
		.log_level = 1,
	};

	return call_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int program_load(const struct bpf_insn *instructions, size_t size)
{
	static char log[8192];
	long program = program_try_load(BPF_PROG_TYPE_SK_REUSEPORT, instructions, size, log,
					sizeof(log));

	if (program < 0)
		die("a program was refused: %s\n%s", strerror(-program), log);
	return program;
}

int program_pass(void)
{
	struct bpf_insn code[] = {
		BPF_MOV64_IMM(BPF_REG_0, SK_PASS),
		BPF_EXIT_INSN(),
	};

	return program_load(code, sizeof(code));
}

int program_select(int map, u32 slot)
{
	struct bpf_insn code[] = {
		BPF_ST_MEM(BPF_W, BPF_REG_FP, -4, slot),
		BPF_LD_MAP_FD(BPF_REG_2, map),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_FP),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, -4),
		BPF_MOV64_IMM(BPF_REG_4, 0),
		BPF_EMIT_CALL(BPF_FUNC_sk_select_reuseport),
		BPF_MOV64_IMM(BPF_REG_0, SK_PASS),
		BPF_EXIT_INSN(),
	};

	return program_load(code, sizeof(code));
}

int program_select_nested(int outer, u32 slot)
{
	struct bpf_insn code[] = {
		BPF_MOV64_REG(BPF_REG_CTX, BPF_REG_1),
		BPF_ST_MEM(BPF_W, BPF_REG_FP, -4, slot),
		BPF_ST_MEM(BPF_W, BPF_REG_FP, -8, 0),
		BPF_LD_MAP_FD(BPF_REG_1, outer),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_FP),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -8),
		BPF_EMIT_CALL(BPF_FUNC_map_lookup_elem),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 6),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_CTX),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_0),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_FP),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, -4),
		BPF_MOV64_IMM(BPF_REG_4, 0),
		BPF_EMIT_CALL(BPF_FUNC_sk_select_reuseport),
		BPF_MOV64_IMM(BPF_REG_0, SK_PASS),
		BPF_EXIT_INSN(),
	};

	return program_load(code, sizeof(code));
}

/* A program of type SK_LOOKUP that looks a socket up in @map, or without one (-1) only passes.
 * Returns a negative error number where the kernel rejects such lookups.
 */
int program_lookup(int map, u32 slot)
{
	static char log[8192];
	struct bpf_insn code[] = {
		BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
		BPF_ST_MEM(BPF_W, BPF_REG_FP, -4, slot),
		BPF_LD_MAP_FD(BPF_REG_1, map),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_FP),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -4),
		BPF_EMIT_CALL(BPF_FUNC_map_lookup_elem),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 7),
		BPF_MOV64_REG(BPF_REG_7, BPF_REG_0),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_6),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_7),
		BPF_MOV64_IMM(BPF_REG_3, BPF_SK_LOOKUP_F_NO_REUSEPORT),
		BPF_EMIT_CALL(BPF_FUNC_sk_assign),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_7),
		BPF_EMIT_CALL(BPF_FUNC_sk_release),
		BPF_MOV64_IMM(BPF_REG_0, SK_PASS),
		BPF_EXIT_INSN(),
	};
	size_t skipped = map < 0 ? sizeof(code) - 2 * sizeof(*code) : 0;

	return program_try_load(BPF_PROG_TYPE_SK_LOOKUP, (void *)((char *)code + skipped),
				sizeof(code) - skipped, log, sizeof(log));
}
