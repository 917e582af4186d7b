//! Claim: a domain of type `hvm` has a PL011 and a PL031 that do what their manuals say, and nothing of Xen.
//!
//! What is typed is told line by line: how many characters, and their sum. A line `done` ends it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod claims {
    use guests::gic::interface::{acknowledge, end};
    use guests::gic::lines::{Bit, Line};
    use guests::gic::{is_v2, read, wait, write};
    use guests::serial::{
        DR, FR, ICR, IMSC, LCR_H, MIS, PERIPH_ID, RECEIVE, RECEIVE_TIMEOUT, RIS, TRANSMIT, take,
    };
    use guests::{hostile, say};
    use hv_abi::layout::arm::{PL011_INTID, PL031_BASE, PL031_INTID};

    const UART: Line = Line(PL011_INTID);
    const CLOCK: Line = Line(PL031_INTID);
    const NOTHING: u32 = 1023;

    pub(super) fn hold() {
        assert!(guests::serial::is_there(), "the device tree has no PL011");
        [UART, CLOCK].into_iter().for_each(prepare);
        identification();
        transmit_interrupt();
        alarm();
        nothing_of_xen();
        receive();
    }

    fn prepare(line: Line) {
        line.set_edge(false);
        line.set_priority(0xA0);
        line.set(Bit::Group, !is_v2());
        line.route(true);
        line.write(Bit::Enable);
    }

    /// Waits for an interrupt that is on its way: the controller looks at the line again when the last one has ended.
    fn acknowledge_soon() -> u32 {
        let mut attempts = (0..1000).map(|_| acknowledge());
        let taken = attempts.find(|taken| taken & 0x3FF != NOTHING);
        taken.unwrap_or(NOTHING)
    }

    fn identity(first: u64) -> u32 {
        (0..4).fold(0, |id, byte| id | read(first + 4 * byte) << (8 * byte))
    }

    fn identification() {
        assert_eq!(identity(PERIPH_ID), 0x0034_1011, "UARTPeriphID");
        assert_eq!(identity(PERIPH_ID + 16), 0xB105_F00D, "UARTPCellID");
        assert_eq!(identity(PL031_BASE + 0xFE0), 0x0004_1031, "RTCPeriphID");
        assert_eq!(read(FR) & 0xF8, 0x90, "idle, nothing received");
        say!("  identification");
    }

    fn transmit_interrupt() {
        write(ICR, TRANSMIT);
        write(IMSC, TRANSMIT);
        assert!(!UART.is(Bit::SetPending), "nothing was sent");
        write(DR, u32::from(b' '));
        assert_eq!(read(MIS), TRANSMIT);
        assert!(UART.is(Bit::SetPending), "a level");
        let taken = acknowledge();
        assert_eq!(taken & 0x3FF, UART.0);
        end(taken);
        let again = acknowledge_soon();
        assert_eq!(again & 0x3FF, UART.0, "it is still high");
        write(ICR, TRANSMIT);
        end(again);
        assert_eq!(acknowledge() & 0x3FF, NOTHING);
        write(IMSC, 0);
        say!("  the transmit interrupt");
    }

    fn alarm() {
        const MR: u64 = PL031_BASE + 4;
        const LR: u64 = PL031_BASE + 8;
        const RTC_IMSC: u64 = PL031_BASE + 0x10;
        const RTC_ICR: u64 = PL031_BASE + 0x1C;
        assert!(read(PL031_BASE) > 1_700_000_000, "it is after 2023");
        write(LR, 1000);
        assert!((1000..1002).contains(&read(PL031_BASE)), "it was set");
        write(RTC_IMSC, 1);
        write(MR, read(PL031_BASE) + 1);
        let taken = loop {
            wait();
            match acknowledge() {
                taken if taken & 0x3FF == NOTHING => {}
                taken => break taken,
            }
        };
        assert_eq!(taken & 0x3FF, CLOCK.0);
        assert!(read(PL031_BASE) >= read(MR), "it came early");
        write(RTC_ICR, 1);
        end(taken);
        assert_eq!(acknowledge() & 0x3FF, NOTHING);
        say!("  the alarm");
    }

    fn nothing_of_xen() {
        const PSCI_VERSION: u64 = 0x8400_0000;
        const HYPERVISOR_UID: u64 = 0x8600_FF01;
        const XEN_VERSION: u64 = 17;
        assert_eq!(hostile::firmware(false, PSCI_VERSION, [0; 3]), 0x1_0001);
        let uid = hostile::firmware(false, HYPERVISOR_UID, [0; 3]);
        assert_eq!(uid, u64::MAX, "the hypervisor says who it is");
        hostile::tolerate();
        let _undefined = hostile::hypercall(XEN_VERSION, [0; 5]);
        assert_eq!(hostile::faults(), 1, "a hypercall was answered");
        say!("  nothing of Xen");
    }

    /// Takes lines as a driver would: sleeps until there is an interrupt, and takes all there is.
    fn receive() {
        const FIFOS: u32 = 1 << 4;
        write(LCR_H, 0x60 | FIFOS);
        write(IMSC, RECEIVE | RECEIVE_TIMEOUT);
        say!("  type");
        let (mut count, mut sum, mut last) = (0_u32, 0_u32, [0_u8; 4]);
        loop {
            let taken = acknowledge();
            if taken & 0x3FF == NOTHING {
                wait();
                continue;
            }
            assert_eq!(taken & 0x3FF, UART.0);
            while let Some(byte) = take() {
                if byte == b'\n' {
                    say!("  {count} characters, sum {sum}");
                    if &last == b"done" {
                        assert_eq!(read(RIS) & RECEIVE_TIMEOUT, 0, "nothing is left");
                        end(taken);
                        return;
                    }
                    (count, sum) = (0, 0);
                    continue;
                }
                count += 1;
                sum += u32::from(byte);
                last = [last[1], last[2], last[3], byte];
            }
            end(taken);
        }
    }
}

guests::guest!("aarch64", "serial", || claims::hold());
