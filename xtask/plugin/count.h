/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the counting plugins of both architectures share: what they use of QEMU (plugin API version 1,
 * docs/devel/tcg-plugins.rst), declared here so that no header of QEMU is needed, their arguments and their profile.
 * Each is one source file that includes this, and defines `counts` and `machine_argument`.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct tb;
struct insn;

EXPORT int qemu_plugin_version = 1;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
const void *qemu_plugin_insn_data(const struct insn *);

/* Writes a line. */
static void counts(const char *name);
/* Takes an argument that only this architecture has. */
static bool machine_argument(const char *text);

struct range {
    uint64_t from, to;
};

static bool within(struct range range, uint64_t address)
{
    return address >= range.from && address < range.to;
}

/* A translated block in the profile. Blocks are never freed: QEMU may keep a pointer to one. */
struct profiled {
    uint64_t address;
    /* By the hypervisor. */
    uint64_t executed;
    struct profiled *next;
};

static struct profiled *profile;
static FILE *out;
static const char *profile_path;
static bool tell_idle;

static uint64_t hyp, hyp_dom0, dom0, guest, exits;
static bool from_dom0;

/* A block of so many bytes, of which the first are a `struct profiled`. */
static void *new_block(size_t size, uint64_t address)
{
    struct profiled *block = calloc(1, size);
    if (block == NULL)
        abort();
    block->address = address;
    block->next = profile;
    profile = block;
    return block;
}

static void write_profile(void)
{
    FILE *file = fopen(profile_path, "w");
    if (file == NULL)
        return;
    for (const struct profiled *block = profile; block != NULL; block = block->next)
        if (block->executed != 0)
            fprintf(file, "%" PRIx64 " %" PRIu64 "\n", block->address, block->executed);
    fclose(file);
}

static void line(const char *name)
{
    counts(name);
    if (profile_path != NULL)
        write_profile();
}

static bool range_argument(const char *text, const char *name, struct range *range)
{
    size_t length = strlen(name);
    return strncmp(text, name, length) == 0 &&
           sscanf(text + length, "=%" SCNx64 "-%" SCNx64, &range->from, &range->to) == 2;
}

static bool argument(const char *text)
{
    if (strncmp(text, "profile=", 8) == 0)
        profile_path = strdup(text + 8);
    else if (strcmp(text, "idle=on") == 0)
        tell_idle = true;
    else if (strncmp(text, "out=", 4) == 0)
        out = fopen(text + 4, "w");
    else
        return machine_argument(text);
    return true;
}

static bool arguments(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!argument(argv[i])) {
            fprintf(stderr, "count: unknown argument %s\n", argv[i]);
            return false;
        }
    if (out == NULL)
        fprintf(stderr, "count: out=FILE is missing, or cannot be written\n");
    return out != NULL;
}
