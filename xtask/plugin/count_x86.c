/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Counts instructions of an emulated x86 machine with one CPU, split by who executes them: a plugin for QEMU's TCG
 * (count.h).
 *
 * Who executes is known from where control changes hands. A hypervisor is left at VMRUN and entered where it goes on
 * behind it; that place is known by its memory, because guests have the same addresses. Instructions are counted one by
 * one: an exit can come in the middle of a block.
 *
 * Domain-0 is told from other guests by its memory, too: it is what is entered first. Where the machine's memory is in
 * ours is known from the hypervisor's first instruction, which is where it is linked.
 *
 * Arguments:
 *   out=FILE         where lines go
 *   entry=HEX        the hypervisor's first instruction; everything is counted from there on. Without it (and hypva)
 *                    everything is a guest's
 *   image=HEX-HEX    the hypervisor's code
 *   apart=HEX-HEX    a part of it that waits: also counted for itself
 *   dom0=SIZE        Domain-0's memory, from the 2 MiB boundary below what is entered first; without it there is none
 *   hypva=HEX-HEX    instead of all of these: a hypervisor that has these virtual addresses to itself, and whose
 *                    Domain-0 runs without VMRUN
 *   profile=FILE     instructions of each block of the hypervisor, written anew with each line
 *   idle=on          a line `idle` whenever the hypervisor executes HLT; on a machine that somebody talks to
 *
 * Lines: NAME hyp=N hyp_dom0=N dom0=N guest=N apart=N exits=N (hyp_dom0: the part of hyp after an exit of Domain-0), for
 * the first time that Domain-0 (`dom0`) and a guest (`guest`) are entered, the marks (7-byte NOPs with the displacement
 * 0x4d415201, `up`, 0x4d415202, `begin`, or 0x4d415203, `end`), and the end (`exit`).
 */
#include "count.h"

enum { ADD_U64 = 0 };
enum { LARGE_PAGE = 2 << 20 };

void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_inline(struct insn *, int, void *, uint64_t);
size_t qemu_plugin_insn_size(const struct insn *);
uint64_t qemu_plugin_insn_vaddr(const struct insn *);
void *qemu_plugin_insn_haddr(const struct insn *);

static const uint8_t VMRUN[] = {0x0f, 0x01, 0xd8};
static const uint8_t HLT[] = {0xf4};
static const uint8_t MARK[] = {0x0f, 0x1f, 0x80, 0, 0x52, 0x41, 0x4d};
static const char *const MARKS[] = {NULL, "up", "begin", "end"};
enum { MARK_NUMBER = 3 };

/* Where a hypervisor goes on after an exit, in memory of ours. */
enum { RETURNS = 16 };
static const uint8_t *returns[RETURNS];
static size_t return_count;

static uint64_t entry, dom0_size;
static struct range image, apart_range, hypva, dom0_range;

/* Where the machine's memory is in ours. */
static const uint8_t *memory;

/* Counted as they are executed; the others from these at each change of hands. */
static uint64_t executed, executed_in_hypva, executed_in_dom0, apart;
/* The same at the last change. */
static uint64_t executed_before, executed_in_hypva_before, executed_in_dom0_before;

static bool in_guest, dom0_seen, guest_seen;

static void counts(const char *name)
{
    fprintf(out,
            "%s hyp=%" PRIu64 " hyp_dom0=%" PRIu64 " dom0=%" PRIu64 " guest=%" PRIu64 " apart=%" PRIu64
            " exits=%" PRIu64 "\n",
            name, hyp, hyp_dom0, dom0, guest, apart, exits);
    fflush(out);
}

/* What was executed in the guest since it was entered. */
static void add_guests(uint64_t total)
{
    if (total == 0)
        return;
    from_dom0 = dom0_size != 0 && executed_in_dom0 - executed_in_dom0_before == total;
    bool *seen = from_dom0 ? &dom0_seen : &guest_seen;
    if (!*seen)
        line(from_dom0 ? "dom0" : "guest");
    *seen = true;
    if (from_dom0)
        dom0 += total;
    else
        guest += total;
}

/* What was executed outside of guests since the exit. */
static void add_hypervisors(uint64_t total)
{
    uint64_t own = hypva.to == 0 ? total : executed_in_hypva - executed_in_hypva_before;
    hyp += own;
    dom0 += total - own;
    if (from_dom0)
        hyp_dom0 += own;
}

static void settle(void)
{
    uint64_t total = executed - executed_before;
    if (in_guest)
        add_guests(total);
    else
        add_hypervisors(total);
    executed_before = executed;
    executed_in_hypva_before = executed_in_hypva;
    executed_in_dom0_before = executed_in_dom0;
}

static void begins(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    if (entry == 0)
        return;
    entry = 0;
    executed_before = executed;
}

/* At VMRUN. Calls come before their instruction is counted: it will be, and is the hypervisor's. */
static void leaves(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    settle();
    hyp++;
    executed_before++;
    in_guest = true;
}

/* At what follows VMRUN. */
static void returns_to(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    if (!in_guest)
        return;
    settle();
    in_guest = false;
    exits++;
}

static void marked(unsigned cpu, void *data)
{
    (void)cpu;
    settle();
    line(data);
}

static void idles(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    if (in_guest)
        return;
    settle();
    counts("idle");
}

static bool is_return(const uint8_t *place)
{
    for (size_t i = 0; i < return_count; i++)
        if (returns[i] == place)
            return true;
    return false;
}

static void returns_behind(const uint8_t *place)
{
    if (is_return(place) || return_count == RETURNS)
        return;
    returns[return_count++] = place;
}

static const char *mark_of(const uint8_t *code, size_t size)
{
    uint8_t mark[sizeof MARK];
    if (size != sizeof MARK)
        return NULL;
    memcpy(mark, code, sizeof mark);
    uint8_t number = mark[MARK_NUMBER];
    mark[MARK_NUMBER] = 0;
    bool is_mark = memcmp(mark, MARK, sizeof MARK) == 0 && number < sizeof MARKS / sizeof *MARKS;
    return is_mark ? MARKS[number] : NULL;
}

/* The machine's address of an instruction; 0 where that is not known. */
static uint64_t machine_address(const struct insn *insn)
{
    const uint8_t *place = qemu_plugin_insn_haddr(insn);
    return place != NULL && memory != NULL ? (uint64_t)(place - memory) : 0;
}

/* Domain-0 is what is entered first. */
static void look_for_dom0(uint64_t address)
{
    if (!in_guest || dom0_size == 0 || dom0_range.to != 0 || address == 0 || within(image, address))
        return;
    dom0_range.from = address - address % LARGE_PAGE;
    dom0_range.to = dom0_range.from + dom0_size;
}

static void look_for_memory(struct insn *insn)
{
    const uint8_t *place = qemu_plugin_insn_haddr(insn);
    uint64_t address = qemu_plugin_insn_vaddr(insn);
    if (address != entry || place == NULL || memory != NULL)
        return;
    memory = place - address;
    qemu_plugin_register_vcpu_insn_exec_cb(insn, begins, 0, NULL);
}

static void count_in(struct insn *insn, struct range range, uint64_t address, uint64_t *counter)
{
    if (within(range, address))
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, counter, 1);
}

static void instrument_changes(struct insn *insn)
{
    const uint8_t *place = qemu_plugin_insn_haddr(insn);
    const uint8_t *code = qemu_plugin_insn_data(insn);
    size_t size = qemu_plugin_insn_size(insn);
    const char *mark = mark_of(code, size);
    if (mark != NULL)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, 0, (void *)mark);
    if (place != NULL && is_return(place))
        qemu_plugin_register_vcpu_insn_exec_cb(insn, returns_to, 0, NULL);
    if (tell_idle && size == sizeof HLT && memcmp(code, HLT, size) == 0)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, idles, 0, NULL);
    if (place != NULL && size == sizeof VMRUN && memcmp(code, VMRUN, size) == 0) {
        returns_behind(place + size);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, leaves, 0, NULL);
    }
}

static void instrument(struct insn *insn)
{
    look_for_memory(insn);
    uint64_t address = machine_address(insn);
    look_for_dom0(address);
    qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &executed, 1);
    count_in(insn, hypva, qemu_plugin_insn_vaddr(insn), &executed_in_hypva);
    count_in(insn, dom0_range, address, &executed_in_dom0);
    count_in(insn, apart_range, address, &apart);
    instrument_changes(insn);
}

/* The address in the hypervisor of a block; 0: it is not the hypervisor's. */
static uint64_t hypervisors(const struct insn *first)
{
    bool is_by_hypva = hypva.to != 0;
    uint64_t address = is_by_hypva ? qemu_plugin_insn_vaddr(first) : machine_address(first);
    return within(is_by_hypva ? hypva : image, address) ? address : 0;
}

static void instrument_block(struct tb *tb, size_t length)
{
    uint64_t address = hypervisors(qemu_plugin_tb_get_insn(tb, 0));
    if (profile_path == NULL || address == 0)
        return;
    struct profiled *block = new_block(sizeof *block, address);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->executed, length);
}

static void translated(plugin_id id, struct tb *tb)
{
    size_t length = qemu_plugin_tb_n_insns(tb);
    (void)id;
    for (size_t i = 0; i < length; i++)
        instrument(qemu_plugin_tb_get_insn(tb, i));
    instrument_block(tb, length);
}

static void ended(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    settle();
    line("exit");
}

static bool machine_argument(const char *text)
{
    return range_argument(text, "image", &image) || range_argument(text, "apart", &apart_range) ||
           range_argument(text, "hypva", &hypva) || sscanf(text, "entry=%" SCNx64, &entry) == 1 ||
           sscanf(text, "dom0=%" SCNu64, &dom0_size) == 1;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (!arguments(argc, argv))
        return -1;
    in_guest = entry == 0 && hypva.to == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
