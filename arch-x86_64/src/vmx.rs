//! Intel's virtual-machine extensions (Intel SDM, volume 3, "Virtual Machine Extensions").
//!
//! While a guest CPU is loaded its VMCS is current, and registers are in there. While it is not, the VMCS is cleared, so
//! that another CPU may load it, and whoever looks makes it current for a moment. What is set before it is loaded for
//! the first time is kept aside until then: a VMCS may not be moved.
//!
//! CR0.NE and CR4.VMXE have to be set while the CPU runs guests. They are the hypervisor's; what the guest thinks of them is
//! in the read shadows.

pub(crate) mod exit;
pub(crate) mod field;

use hv_abi::FRAME_SHIFT;
use hv_abi::record::Kind;
use hv_abi::record::x86::{Cpu, DescriptorTable, Segment};

use crate::control_registers::{cr0, cr4, rflags};
use crate::ept::EptEntry;
use crate::hw::vmx::{self as hw, Region, read, write};
use crate::msr::efer;
use crate::permissions::{self, Map, Maps, MsrLayout};
use crate::vendor::{
    Control, Event, Flush, Injection, Mode, Register, Registers, Vendor, World, exception, gpr,
};
use field::{Field, control, entry, exit as exit_control, pin, processor, secondary};

/// See the module.
#[derive(Debug)]
pub struct Vmx;

impl Vendor for Vmx {
    type Pte = EptEntry;
    type Control = VmxControl;
    const CPU_RECORD: Kind = Kind::VMX_CPU;
    /// VMCALL.
    const HYPERCALL: [u8; 3] = [0x0F, 0x01, 0xC1];
}

/// Interruptibility: after STI, after a load of SS.
const SHADOWS: u64 = 3;
/// Interruption information: valid; with an error code.
const VALID: u64 = 1 << 31;
const HAS_ERROR: u64 = 1 << 11;
/// Write-back, four levels.
const EPT_KIND: u64 = 6 | 3 << 3;
/// In access rights: a 64-bit code segment.
const LONG: u64 = 1 << 13;

/// Reads of low and of high MSRs, then writes, a bit for each, 1 KiB each ("MSR-Bitmap Address").
pub(crate) static MSRS: Map<0x1000> = permissions::msrs(&MsrLayout {
    stride: 1,
    write: 0x800 * 8,
    high: 0x400 * 8,
});

/// A guest CPU's VMCS and what is not in it.
pub struct VmxControl {
    region: Region,
    /// Registers that are not in the VMCS yet.
    staged: Option<Cpu>,
    /// Controls are written.
    is_prepared: bool,
    /// It was entered since it was made current.
    is_launched: bool,
    is_injecting: bool,
    /// MSRs that the CPU does not switch: STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE.
    msrs: [u64; hw::MSRS.len()],
    cr2: u64,
    dr6: u64,
}

impl Control for VmxControl {
    fn new() -> Self {
        Self {
            region: Region::new(),
            staged: None,
            is_prepared: false,
            is_launched: false,
            is_injecting: false,
            msrs: [0; hw::MSRS.len()],
            cr2: 0,
            dr6: 0,
        }
    }

    fn load(&mut self, world: &World) {
        self.region.make_current(!self.is_prepared);
        self.is_launched = false;
        if !self.is_prepared {
            self.is_prepared = true;
            write_controls();
        }
        if let Some(state) = self.staged.take() {
            self.write_state(&state);
        }
        write_world(world);
        hw::write_host_state();
        hw::load_msrs(&self.msrs);
        hw::load_fault_registers(self.cr2, self.dr6);
    }

    fn unload(&mut self) {
        hw::save_msrs(&mut self.msrs);
        (self.cr2, self.dr6) = hw::save_fault_registers();
        self.region.clear();
    }

    #[inline]
    fn run(&mut self, registers: &mut Registers, flush: Flush) -> Event {
        if flush != Flush::Nothing {
            hw::flush(read(Field::EPT_POINTER));
        }
        let entered = hw::enter(registers, self.is_launched);
        if !entered {
            return Event::Failed(0, read(Field::INSTRUCTION_ERROR));
        }
        self.is_launched = true;
        self.is_injecting = false;
        self.keep_undelivered();
        let event = exit::decode(&Current);
        if matches!(event, Event::Interrupted) {
            restart_stay();
        }
        if let Event::Exception(exception::DB, _) = event {
            hw::add_to_dr6(read(Field::QUALIFICATION));
        }
        event
    }

    #[inline]
    fn get(&self, register: Register) -> u64 {
        match register {
            Register::Rip => read(Field::GUEST_RIP),
            Register::Rsp => read(Field::GUEST_RSP),
            Register::Rflags => read(Field::GUEST_RFLAGS),
            Register::Cr0 => seen(Field::GUEST_CR0, Field::CR0_SHADOW, cr0::NE),
            Register::Cr3 => read(Field::GUEST_CR3),
            Register::Cr4 => seen(Field::GUEST_CR4, Field::CR4_SHADOW, cr4::VMXE),
            Register::Efer => read(Field::GUEST_EFER),
            Register::Pat => read(Field::GUEST_PAT),
            Register::CsBase => read(Field::GUEST_CS_BASE),
        }
    }

    #[inline]
    fn set(&mut self, register: Register, value: u64) {
        match register {
            Register::Rip => write(Field::GUEST_RIP, value),
            Register::Rsp => write(Field::GUEST_RSP, value),
            Register::Rflags => write(Field::GUEST_RFLAGS, value),
            Register::Cr0 => set_cr0(value),
            Register::Cr3 => write(Field::GUEST_CR3, value),
            Register::Cr4 => {
                write(Field::GUEST_CR4, value | cr4::VMXE);
                write(Field::CR4_SHADOW, value);
            }
            Register::Efer => set_efer(value),
            Register::Pat => write(Field::GUEST_PAT, value),
            Register::CsBase => write(Field::GUEST_CS_BASE, value),
        }
    }

    #[inline]
    fn mode(&self) -> Mode {
        let code = read(Field::GUEST_CS_ACCESS);
        Mode {
            is_64_bit: code & LONG != 0 && read(Field::GUEST_EFER) & efer::LMA != 0,
            privilege: (read(Field::GUEST_SS_ACCESS) >> 5 & 3) as u8,
        }
    }

    #[inline]
    fn instruction_length(&self) -> Option<u64> {
        Some(read(Field::INSTRUCTION_LENGTH))
    }

    #[inline]
    fn end_interrupt_shadow(&mut self) {
        let state = read(Field::GUEST_INTERRUPTIBILITY);
        if state & SHADOWS != 0 {
            write(Field::GUEST_INTERRUPTIBILITY, state & !SHADOWS);
        }
    }

    #[inline]
    fn takes_interrupt(&self) -> bool {
        !self.masks_interrupts()
            && !self.is_injecting
            && read(Field::GUEST_INTERRUPTIBILITY) & SHADOWS == 0
    }

    #[inline]
    fn masks_interrupts(&self) -> bool {
        read(Field::GUEST_RFLAGS) & rflags::IF == 0
    }

    #[inline]
    fn inject(&mut self, event: Injection) {
        self.put_in(interruption(event));
    }

    #[inline]
    fn is_injecting(&self) -> bool {
        self.is_injecting
    }

    #[inline]
    fn watch_window(&mut self, watch: bool) {
        let controls = read(Field::PROCESSOR_CONTROLS);
        let bit = u64::from(processor::INTERRUPT_WINDOW);
        let controls = if watch {
            controls | bit
        } else {
            controls & !bit
        };
        write(Field::PROCESSOR_CONTROLS, controls);
    }

    /// CR8 exits.
    fn task_priority(&self) -> Option<u8> {
        None
    }

    fn set_task_priority(&mut self, _: u8) {}

    fn set_page_pointers(&mut self, entries: [u64; 4]) {
        for (number, entry) in (0..).zip(entries) {
            write(Field::GUEST_PDPTE0.next(number), entry);
        }
    }

    fn save(&self, out: &mut Cpu) {
        if let Some(staged) = &self.staged {
            let kept = *out;
            *out = *staged;
            let rsp = staged.gpr[gpr::RSP];
            (out.gpr, out.dr, out.xcr0, out.tsc_aux) = (kept.gpr, kept.dr, kept.xcr0, kept.tsc_aux);
            out.gpr[gpr::RSP] = rsp;
            out.activity |= kept.activity;
            return;
        }
        self.region.while_current(|| self.read_state(out));
    }

    fn restore(&mut self, state: &Cpu) {
        self.staged = Some(*state);
    }
}

/// The current VMCS after an exit.
struct Current;

impl exit::Fields for Current {
    fn reason(&self) -> u32 {
        read(Field::EXIT_REASON) as u32
    }

    fn qualification(&self) -> u64 {
        read(Field::QUALIFICATION)
    }

    fn interruption(&self) -> (u32, u32) {
        (
            read(Field::EXIT_INTERRUPTION) as u32,
            read(Field::EXIT_ERROR_CODE) as u32,
        )
    }

    fn physical_address(&self) -> u64 {
        read(Field::GUEST_PHYSICAL_ADDRESS)
    }

    fn length(&self) -> u64 {
        read(Field::INSTRUCTION_LENGTH)
    }

    fn error(&self) -> u64 {
        read(Field::QUALIFICATION)
    }
}

/// A control register as the guest sees it: bits of the mask are the shadow's.
fn seen(register: Field, shadow: Field, mask: u64) -> u64 {
    read(register) & !mask | read(shadow) & mask
}

/// With paging long mode begins and ends, where it is enabled.
fn set_cr0(value: u64) {
    write(Field::GUEST_CR0, value | cr0::NE);
    write(Field::CR0_SHADOW, value);
    let efer = read(Field::GUEST_EFER);
    let is_long = value & cr0::PG != 0 && efer & efer::LME != 0;
    let efer = if is_long {
        efer | efer::LMA
    } else {
        efer & !efer::LMA
    };
    set_efer(efer);
}

fn set_efer(value: u64) {
    write(Field::GUEST_EFER, value);
    let controls = read(Field::ENTRY_CONTROLS);
    let bit = u64::from(entry::GUEST_64_BIT);
    let controls = if value & efer::LMA != 0 {
        controls | bit
    } else {
        controls & !bit
    };
    write(Field::ENTRY_CONTROLS, controls);
}

/// Controls and what goes with them, once for each VMCS.
fn write_controls() {
    let capabilities = hw::capabilities();
    let secondary = control(
        secondary::NEEDED | secondary::WANTED,
        capabilities.secondary,
    );
    // It counts through all other exits, or a guest that has many would never come to its end.
    let (timer, save_timer) = match hw::stay() {
        0 => (0, 0),
        _ => (pin::PREEMPTION_TIMER, exit_control::SAVE_PREEMPTION_TIMER),
    };
    restart_stay();
    // #DB and #AC: see `svm`.
    const EXCEPTIONS: u64 = 1 << exception::DB | 1 << exception::AC;
    for (field, value) in [
        (
            Field::PIN_CONTROLS,
            control(pin::EXTERNAL_INTERRUPT | pin::NMI | timer, capabilities.pin),
        ),
        (
            Field::PROCESSOR_CONTROLS,
            control(processor::WANTED, capabilities.processor),
        ),
        (Field::SECONDARY_CONTROLS, secondary),
        (
            Field::EXIT_CONTROLS,
            control(exit_control::WANTED | save_timer, capabilities.exit),
        ),
        (
            Field::ENTRY_CONTROLS,
            control(entry::WANTED, capabilities.entry),
        ),
    ] {
        write(field, u64::from(value));
    }
    for (field, value) in [
        (Field::EXCEPTION_BITMAP, EXCEPTIONS),
        (Field::CR3_TARGET_COUNT, 0),
        (Field::EXIT_MSR_STORE_COUNT, 0),
        (Field::EXIT_MSR_LOAD_COUNT, 0),
        (Field::ENTRY_MSR_LOAD_COUNT, 0),
        (Field::ENTRY_INTERRUPTION, 0),
        (Field::VMCS_LINK_POINTER, u64::MAX),
        (Field::GUEST_DEBUGCTL, 0),
        (Field::GUEST_ACTIVITY, 0),
        (Field::GUEST_PENDING_DEBUG, 0),
        (Field::CR0_MASK, cr0::NE),
        (Field::CR4_MASK, cr4::VMXE),
    ] {
        write(field, value);
    }
}

/// A guest's stay begins, where it has an end ([`hw::limit_stay`]).
#[inline]
fn restart_stay() {
    let count = hw::stay();
    if count != 0 {
        write(Field::GUEST_PREEMPTION_TIMER, u64::from(count));
    }
}

fn write_world(world: &World) {
    let maps = Maps::new(world.hardware, &MSRS);
    write(Field::IO_BITMAP_A, maps.io);
    write(Field::IO_BITMAP_B, maps.io + hv_abi::FRAME_SIZE as u64);
    write(Field::MSR_BITMAP, maps.msr);
    write(Field::TSC_OFFSET, world.tsc_offset);
    write(Field::EPT_POINTER, world.stage2.0 << FRAME_SHIFT | EPT_KIND);
    write(Field::VPID, u64::from(world.tag));
}

/// Access rights of a VMCS from attributes of a record.
const fn access_rights(attributes: u16) -> u64 {
    let attributes = attributes as u64;
    attributes & 0xFF | (attributes & 0x1F00) << 4
}

/// The other way.
const fn attributes(rights: u64) -> u16 {
    (rights & 0xFF | rights >> 4 & 0x1F00) as u16
}

/// Writes an event, as EXITINTINFO has it, which differs in nothing but where the error code is.
fn interruption(event: Injection) -> u64 {
    match event {
        Injection::Interrupt(vector) => VALID | u64::from(vector),
        Injection::Nmi => VALID | 2 << 8 | 2,
        Injection::Exception(vector, None) => VALID | 3 << 8 | u64::from(vector),
        Injection::Exception(vector, Some(error)) => {
            VALID | HAS_ERROR | 3 << 8 | u64::from(vector) | u64::from(error) << 32
        }
    }
}

impl VmxControl {
    /// An event whose delivery the exit interrupted comes again, unless an instruction raised it: that is executed again.
    #[inline]
    fn keep_undelivered(&mut self) {
        let information = read(Field::VECTORING_INFORMATION);
        if information & VALID == 0 {
            return;
        }
        const KIND: u64 = 7 << 8;
        if matches!((information & KIND) >> 8, 0 | 2 | 3) {
            let error = read(Field::VECTORING_ERROR_CODE);
            self.put_in(information & (VALID | HAS_ERROR | KIND | 0xFF) | error << 32);
        }
    }

    #[inline]
    fn put_in(&mut self, event: u64) {
        write(Field::ENTRY_ERROR_CODE, event >> 32);
        write(Field::ENTRY_INTERRUPTION, event & 0xFFFF_FFFF);
        self.is_injecting = true;
    }

    fn write_state(&mut self, state: &Cpu) {
        for (field, value) in [
            (Field::GUEST_RIP, state.rip),
            (Field::GUEST_RSP, state.gpr[gpr::RSP]),
            (Field::GUEST_RFLAGS, state.rflags),
            (Field::GUEST_CR3, state.cr3),
            (Field::GUEST_PAT, state.pat),
            (Field::GUEST_DR7, state.dr7),
            (Field::GUEST_SYSENTER_CS, state.sysenter_cs),
            (Field::GUEST_SYSENTER_ESP, state.sysenter_esp),
            (Field::GUEST_SYSENTER_EIP, state.sysenter_eip),
            (Field::GUEST_GDTR_BASE, state.gdtr.base),
            (Field::GUEST_GDTR_LIMIT, state.gdtr.limit),
            (Field::GUEST_IDTR_BASE, state.idtr.base),
            (Field::GUEST_IDTR_LIMIT, state.idtr.limit),
            (Field::GUEST_INTERRUPTIBILITY, state.activity & 1),
        ] {
            write(field, value);
        }
        set_efer(state.efer);
        write(Field::GUEST_CR0, state.cr0 | cr0::NE);
        write(Field::CR0_SHADOW, state.cr0);
        self.set(Register::Cr4, state.cr4);
        for (number, segment) in (0..).zip(segments(state)) {
            write_segment(number, segment);
        }
        self.msrs = [
            state.star,
            state.lstar,
            state.cstar,
            state.sfmask,
            state.kernel_gs_base,
        ];
        (self.cr2, self.dr6) = (state.cr2, state.dr6);
        self.is_injecting = false;
        write(Field::ENTRY_INTERRUPTION, 0);
        if state.event & VALID != 0 {
            self.put_in(state.event);
        }
    }

    fn read_state(&self, out: &mut Cpu) {
        out.rip = read(Field::GUEST_RIP);
        out.gpr[gpr::RSP] = read(Field::GUEST_RSP);
        out.rflags = read(Field::GUEST_RFLAGS);
        out.cr0 = self.get(Register::Cr0);
        out.cr3 = read(Field::GUEST_CR3);
        out.cr4 = self.get(Register::Cr4);
        out.efer = read(Field::GUEST_EFER);
        out.pat = read(Field::GUEST_PAT);
        out.dr7 = read(Field::GUEST_DR7);
        out.sysenter_cs = read(Field::GUEST_SYSENTER_CS);
        out.sysenter_esp = read(Field::GUEST_SYSENTER_ESP);
        out.sysenter_eip = read(Field::GUEST_SYSENTER_EIP);
        out.gdtr = DescriptorTable {
            base: read(Field::GUEST_GDTR_BASE),
            limit: read(Field::GUEST_GDTR_LIMIT),
        };
        out.idtr = DescriptorTable {
            base: read(Field::GUEST_IDTR_BASE),
            limit: read(Field::GUEST_IDTR_LIMIT),
        };
        [
            out.es, out.cs, out.ss, out.ds, out.fs, out.gs, out.ldtr, out.tr,
        ] = core::array::from_fn(|number| read_segment(number as u64));
        [
            out.star,
            out.lstar,
            out.cstar,
            out.sfmask,
            out.kernel_gs_base,
        ] = self.msrs;
        (out.cr2, out.dr6) = (self.cr2, self.dr6);
        if read(Field::GUEST_INTERRUPTIBILITY) & SHADOWS != 0 {
            out.activity |= 1;
        }
        if self.is_injecting {
            out.event = read(Field::ENTRY_INTERRUPTION) | read(Field::ENTRY_ERROR_CODE) << 32;
        }
    }
}

/// In the order of their fields.
fn segments(state: &Cpu) -> [Segment; 8] {
    [
        state.es, state.cs, state.ss, state.ds, state.fs, state.gs, state.ldtr, state.tr,
    ]
}

fn write_segment(number: u64, segment: Segment) {
    let selector = u64::from(segment.selector);
    write(Field::GUEST_ES_SELECTOR.segment(number), selector);
    write(Field::GUEST_ES_BASE.segment(number), segment.base);
    write(
        Field::GUEST_ES_LIMIT.segment(number),
        u64::from(segment.limit),
    );
    let rights = access_rights(segment.attributes);
    write(Field::GUEST_ES_ACCESS.segment(number), rights);
}

fn read_segment(number: u64) -> Segment {
    Segment {
        selector: read(Field::GUEST_ES_SELECTOR.segment(number)) as u16,
        attributes: attributes(read(Field::GUEST_ES_ACCESS.segment(number))),
        limit: read(Field::GUEST_ES_LIMIT.segment(number)) as u32,
        base: read(Field::GUEST_ES_BASE.segment(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_rights_and_attributes_are_each_others() {
        assert_eq!(access_rights(0x9B | 0xA00), 0xA09B);
        assert_eq!(access_rights(0x1000), 0x1_0000, "unusable");
        for value in [0, 0x9B, 0xC93, 0xA9B, 0x1000, 0x8B] {
            assert_eq!(attributes(access_rights(value)), value);
        }
    }

    #[test]
    fn events_are_those_of_the_manual() {
        assert_eq!(interruption(Injection::Interrupt(0xF3)), 0x8000_00F3);
        assert_eq!(interruption(Injection::Nmi), 0x8000_0202);
        let fault = Injection::Exception(13, Some(0x10));
        assert_eq!(interruption(fault), 0x10_8000_0B0D);
    }
}
