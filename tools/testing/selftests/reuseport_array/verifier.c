// SPDX-License-Identifier: GPL-2.0
/* Which helpers programs may call with the map. */
#include "common.h"
#include "helpers.skel.h"
#include "lookups.skel.h"
#include "workqueue.skel.h"

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

/* Lookups: which types of programs may, and what they may do with the socket. */
FIXTURE(lookups)
{
	struct lookups *skel;
	char log[16384];
};

FIXTURE_VARIANT(lookups)
{
	const char *prog;
	const char *complaint;	/* NULL: the program is accepted */
	int err;
};

#define ADD_LOOKUP(name, complaint, err)						\
	FIXTURE_VARIANT_ADD(lookups, name) { #name, complaint, err }

ADD_LOOKUP(from_sk_lookup, NULL, 0);
ADD_LOOKUP(from_tc, NULL, 0);
ADD_LOOKUP(from_sk_reuseport, NULL, 0);
ADD_LOOKUP(from_migrate, NULL, 0);
ADD_LOOKUP(from_action, WRONG_TYPE, -EINVAL);
ADD_LOOKUP(from_xdp, WRONG_TYPE, -EINVAL);
ADD_LOOKUP(from_cgroup, WRONG_TYPE, -EINVAL);
ADD_LOOKUP(from_sock_ops, WRONG_TYPE, -EINVAL);
ADD_LOOKUP(from_syscall, "leepable programs can only use", -EINVAL);
ADD_LOOKUP(not_released, "Unreleased reference", -EINVAL);
ADD_LOOKUP(released_twice, "", -EACCES);
ADD_LOOKUP(used_after_release, "", -EACCES);
ADD_LOOKUP(not_compared_with_null, "_or_null expected", -EACCES);
ADD_LOOKUP(written_to, "cannot write into sock", -EACCES);
ADD_LOOKUP(read_as_a_value, "invalid sock access", -EACCES);

FIXTURE_SETUP(lookups)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = self->log,
		    .kernel_log_size = sizeof(self->log), .kernel_log_level = 1);
	struct bpf_program *prog;

	libbpf_set_print(NULL);
	self->skel = lookups__open_opts(&opts);
	ASSERT_NE(NULL, self->skel);
	prog = bpf_object__find_program_by_name(self->skel->obj, variant->prog);
	ASSERT_NE(NULL, prog);
	ASSERT_EQ(0, bpf_program__set_autoload(prog, true));
}

FIXTURE_TEARDOWN(lookups)
{
	lookups__destroy(self->skel);
}

/* A program that looks up, and perhaps does not release, is loaded or not as the variant says. */
TEST_F(lookups, load)
{
	EXPECT_EQ(variant->err, lookups__load(self->skel)) {
		TH_LOG("%s", self->log);
	}
	if (variant->complaint)
		EXPECT_NE(NULL, strstr(self->log, variant->complaint)) {
			TH_LOG("%s", self->log);
		}
}

/* Values of either size are looked up alike. */
TEST_F(lookups, value_of_4_bytes)
{
	ASSERT_EQ(0, bpf_map__set_value_size(self->skel->maps.map, sizeof(__u32)));
	EXPECT_EQ(variant->err, lookups__load(self->skel));
}

/* What keeps the socket is RCU, so a callback that may sleep cannot look it up. */
TEST(callback_that_sleeps)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_level = 1);
	static char log[16384];
	struct workqueue *skel;

	opts.kernel_log_buf = log;
	opts.kernel_log_size = sizeof(log);

	/* fail without the map, before anything is skipped */
	close(new_map(_metadata));
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		SKIP(return, "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): no such callbacks");

	libbpf_set_print(NULL);
	skel = workqueue__open_opts(&opts);
	ASSERT_NE(NULL, skel);
	EXPECT_EQ(-EINVAL, workqueue__load(skel));
	EXPECT_NE(NULL, strstr(log, WRONG_TYPE)) {
		TH_LOG("%s", log);
	}
	workqueue__destroy(skel);
}

TEST_HARNESS_MAIN
