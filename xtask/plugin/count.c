/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Counts instructions of an emulated ARM machine with one CPU, split by who executes them: a plugin for QEMU's TCG
 * (count.h).
 *
 * Who executes is known from where control changes hands. The hypervisor is entered at the lower-EL half of its vector
 * table and left by ERET; addresses alone would not do, because guests run at the same ones before they turn their MMU
 * on. Domain-0 is told from other guests by its addresses; the few instructions that Linux executes there before it
 * has its own are counted as Domain-0's. A block that ends early by a fault is counted whole; no block of the
 * hypervisor does.
 *
 * Arguments:
 *   out=FILE        where lines go
 *   vectors=HEX     the hypervisor's vector table (VBAR_EL2); without it everything is a guest's
 *   hypva=HEX-HEX   instead of vectors: a hypervisor that has these virtual addresses to itself
 *   dom0=HEX-HEX    Domain-0's virtual addresses
 *   guest=HEX       first instruction of a guest: a line `guest` when it is executed
 *   profile=FILE    instructions of each block of the hypervisor, written anew with each line
 *   idle=on         a line `idle` whenever the CPU has nothing to do; on a machine that somebody talks to
 *
 * Lines: NAME hyp=N hyp_dom0=N dom0=N guest=N exits=N (hyp_dom0: the part of hyp after an exit of Domain-0), for the
 * first time the hypervisor is left (`dom0`), a guest's first instruction (`guest`), the marks `orr x27,x27,x27` (`up`),
 * `orr x26,x26,x26` (`begin`), `orr x25,x25,x25` (`end`), and the end (`exit`).
 */
#include "count.h"

void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_idle_cb(plugin_id, void (*)(plugin_id, unsigned));
uint64_t qemu_plugin_tb_vaddr(const struct tb *);

enum {
    ERET = 0xd69f03e0,
    MARK_UP = 0xaa1b037b,
    MARK_BEGIN = 0xaa1a035a,
    MARK_END = 0xaa190339,
};

struct block {
    struct profiled profiled;
    uint64_t length;
    bool is_entry, is_guest_start, in_dom0, in_hypva, ends_with_eret;
};

static uint64_t vectors, guest_start;
static struct range dom0_range, hypva_range;
static bool in_hypervisor, left_before;

static void counts(const char *name)
{
    fprintf(out, "%s hyp=%" PRIu64 " hyp_dom0=%" PRIu64 " dom0=%" PRIu64 " guest=%" PRIu64 " exits=%" PRIu64 "\n", name,
            hyp, hyp_dom0, dom0, guest, exits);
    fflush(out);
}

static void enter_hypervisor(void)
{
    in_hypervisor = true;
    exits++;
}

static void leave_hypervisor(void)
{
    in_hypervisor = false;
    if (!left_before)
        line("dom0");
    left_before = true;
}

static void count(const struct block *block)
{
    if (in_hypervisor) {
        hyp += block->length;
        if (from_dom0)
            hyp_dom0 += block->length;
    } else if (block->in_dom0) {
        dom0 += block->length;
        from_dom0 = true;
    } else {
        guest += block->length;
        from_dom0 = false;
    }
}

static void executed(unsigned cpu, void *data)
{
    struct block *block = data;
    (void)cpu;
    if (vectors == 0) {
        if (block->in_hypva != in_hypervisor) {
            if (block->in_hypva)
                enter_hypervisor();
            else
                leave_hypervisor();
        }
    } else if (!in_hypervisor && block->is_entry) {
        enter_hypervisor();
    }
    if (!in_hypervisor && block->is_guest_start)
        line("guest");
    count(block);
    if (in_hypervisor) {
        block->profiled.executed += block->length;
        if (vectors != 0 && block->ends_with_eret)
            leave_hypervisor();
    }
}

static void marked(unsigned cpu, void *data)
{
    (void)cpu;
    line(data);
}

static void idles(plugin_id id, unsigned cpu)
{
    (void)id;
    (void)cpu;
    counts("idle");
}

static const char *mark_of(uint32_t word)
{
    switch (word) {
    case MARK_UP:
        return "up";
    case MARK_BEGIN:
        return "begin";
    case MARK_END:
        return "end";
    default:
        return NULL;
    }
}

static void translated(plugin_id id, struct tb *tb)
{
    size_t length = qemu_plugin_tb_n_insns(tb);
    uint64_t address = qemu_plugin_tb_vaddr(tb);
    struct block *block = new_block(sizeof *block, address);
    uint32_t word = 0;
    (void)id;
    for (size_t i = 0; i < length; i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        const char *mark = mark_of(word);
        if (mark != NULL)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, 0, (void *)mark);
    }
    block->length = length;
    block->is_entry = vectors != 0 && address >= vectors + 0x400 && address < vectors + 0x600 && address % 0x80 == 0;
    block->is_guest_start = guest_start != 0 && address == guest_start;
    block->in_dom0 = within(dom0_range, address);
    block->in_hypva = within(hypva_range, address);
    block->ends_with_eret = word == ERET;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void ended(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    line("exit");
}

static bool machine_argument(const char *text)
{
    return sscanf(text, "vectors=%" SCNx64, &vectors) == 1 || sscanf(text, "guest=%" SCNx64, &guest_start) == 1 ||
           range_argument(text, "dom0", &dom0_range) || range_argument(text, "hypva", &hypva_range);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (!arguments(argc, argv))
        return -1;
    /* The machine starts in its highest exception level, and so in the hypervisor, if it has one. */
    in_hypervisor = vectors != 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    if (tell_idle)
        qemu_plugin_register_vcpu_idle_cb(id, idles);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
