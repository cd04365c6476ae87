// SPDX-License-Identifier: GPL-2.0
/* Which helpers programs may call with the map. */
#include "common.h"
#include "helpers.skel.h"

FIXTURE(verifier)
{
	struct helpers *skel;
	char log[4096];
};

FIXTURE_VARIANT(verifier)
{
	const char *prog;
	const char *complaint;
	int err;
	enum bpf_map_type suitable;	/* a map type that the helper accepts */
	__u32 key_size;			/* with these attributes */
	__u32 value_size;
};

#define WRONG_TYPE	"cannot pass map_type 20 into func"
#define NO_CALLBACK	"callback function not allowed for map"
#define NO_PROG_ARRAY	"expected prog array map for tail call"

#define ADD_HELPER(name, complaint, err, type, key_size, value_size)			\
	FIXTURE_VARIANT_ADD(verifier, name) {						\
		"call_" #name, complaint, err, type, key_size, value_size }

ADD_HELPER(lookup, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_ARRAY, 4, 8);
ADD_HELPER(update, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_ARRAY, 4, 8);
ADD_HELPER(delete, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_ARRAY, 4, 8);
ADD_HELPER(lookup_percpu, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8);
ADD_HELPER(push, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_QUEUE, 0, 8);
ADD_HELPER(pop, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_QUEUE, 0, 8);
ADD_HELPER(peek, WRONG_TYPE, -EINVAL, BPF_MAP_TYPE_QUEUE, 0, 8);
ADD_HELPER(for_each, NO_CALLBACK, -ENOTSUPP, BPF_MAP_TYPE_ARRAY, 4, 8);
ADD_HELPER(tail_call, NO_PROG_ARRAY, -EINVAL, BPF_MAP_TYPE_PROG_ARRAY, 4, 4);

FIXTURE_SETUP(verifier)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = self->log,
		    .kernel_log_size = sizeof(self->log), .kernel_log_level = 1);
	struct bpf_program *prog;

	libbpf_set_print(NULL);
	self->skel = helpers__open_opts(&opts);
	ASSERT_NE(NULL, self->skel);
	prog = bpf_object__find_program_by_name(self->skel->obj, variant->prog);
	ASSERT_NE(NULL, prog);
	ASSERT_EQ(0, bpf_program__set_autoload(prog, true));
}

FIXTURE_TEARDOWN(verifier)
{
	helpers__destroy(self->skel);
}

/* Does the log have the verifier's reason? Up to Linux 6.12 it had another for tail calls. */
static bool has_reason(const char *log, const char *reason)
{
	return strstr(log, reason) || (!strcmp(reason, NO_PROG_ARRAY) &&
				       strstr(log, "kernel subsystem misconfigured verifier"));
}

/* A program that calls another helper with the map is rejected. */
TEST_F(verifier, refuses)
{
	EXPECT_EQ(variant->err, helpers__load(self->skel));
	EXPECT_TRUE(has_reason(self->log, variant->complaint)) {
		TH_LOG("%s", self->log);
	}
}

/* The same program is accepted with a map of a suitable type. */
TEST_F(verifier, has_no_other_reason)
{
	struct bpf_map *map = self->skel->maps.map;
	int err;

	ASSERT_EQ(0, bpf_map__set_type(map, variant->suitable));
	ASSERT_EQ(0, bpf_map__set_key_size(map, variant->key_size));
	ASSERT_EQ(0, bpf_map__set_value_size(map, variant->value_size));
	err = helpers__load(self->skel);
	if (err && strstr(self->log, "not allowed in non-JITed programs"))
		SKIP(return, "callbacks need a JIT");
	EXPECT_EQ(0, err) {
		TH_LOG("%s", self->log);
	}
}

/* The error is caused by the map, not by the program type. */
TEST_F(verifier, refuses_other_program_types)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(self->skel->obj,
								    variant->prog);

	ASSERT_EQ(0, bpf_program__set_type(prog, BPF_PROG_TYPE_SOCKET_FILTER));
	ASSERT_EQ(0, bpf_program__set_expected_attach_type(prog, 0));
	EXPECT_EQ(variant->err, helpers__load(self->skel));
	EXPECT_TRUE(has_reason(self->log, variant->complaint)) {
		TH_LOG("%s", self->log);
	}
}

/* bpf_sk_select_reuseport() accepts the map with both value sizes, but no other array. */
FIXTURE(selection)
{
	struct helpers *skel;
};

FIXTURE_VARIANT(selection)
{
	enum bpf_map_type type;
	__u32 value_size;
	__u32 flags;
	int err;
};

FIXTURE_VARIANT_ADD(selection, value4) { BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 0, 0 };
FIXTURE_VARIANT_ADD(selection, value8) { BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 8, 0, 0 };
FIXTURE_VARIANT_ADD(selection, rdonly_prog) {
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 8, BPF_F_RDONLY_PROG, 0
};

FIXTURE_VARIANT_ADD(selection, array) { BPF_MAP_TYPE_ARRAY, 8, 0, -EINVAL };
FIXTURE_VARIANT_ADD(selection, hash) { BPF_MAP_TYPE_HASH, 8, 0, -EINVAL };
FIXTURE_VARIANT_ADD(selection, percpu_array) { BPF_MAP_TYPE_PERCPU_ARRAY, 8, 0, -EINVAL };
FIXTURE_VARIANT_ADD(selection, prog_array) { BPF_MAP_TYPE_PROG_ARRAY, 4, 0, -EINVAL };

FIXTURE_SETUP(selection)
{
	libbpf_set_print(NULL);
	self->skel = helpers__open();
	ASSERT_NE(NULL, self->skel);
}

FIXTURE_TEARDOWN(selection)
{
	helpers__destroy(self->skel);
}

/* Loading fails or succeeds as the variant expects. */
TEST_F(selection, load)
{
	struct bpf_map *map = self->skel->maps.map;

	bpf_program__set_autoload(self->skel->progs.call_select, true);
	ASSERT_EQ(0, bpf_map__set_type(map, variant->type));
	ASSERT_EQ(0, bpf_map__set_value_size(map, variant->value_size));
	ASSERT_EQ(0, bpf_map__set_map_flags(map, variant->flags));
	EXPECT_EQ(variant->err, helpers__load(self->skel));
}

TEST_HARNESS_MAIN
