//! One vCPU's records, there and back, and with every bit of them wrong.

use hv_common::arch::{PlatformConfig, Vcpu as _};
use std::vec::Vec;

use super::*;
use crate::platform::Controller;

struct Sink(Vec<(Kind, Vec<u8>)>);

impl RecordSink for Sink {
    fn put(&mut self, kind: Kind, _: u32, body: &[u8]) -> bool {
        self.0.push((kind, body.to_vec()));
        true
    }
}

fn platform() -> Platform {
    let config = PlatformConfig {
        vcpus: 2,
        hardware: false,
        hypervisor_visible: true,
    };
    let controller = Controller::V3 {
        distributor: 0x0300_1000,
        redistributors: 0x0302_0000,
    };
    Platform::at(controller, &config, 0)
}

/// A vCPU as Linux might leave it.
fn busy(platform: &Platform) -> Vcpu {
    let mut vcpu = Vcpu::new(1);
    vcpu.context.x = core::array::from_fn(|n| n as u64 * 3);
    vcpu.context.pc = 0xFFFF_8000_0801_0000;
    vcpu.context.pstate = 0x6040_0005;
    vcpu.system.ttbr1_el1 = 0x4123_4000;
    vcpu.system.mdscr_el1 = 1 << 13;
    vcpu.floating_point.v[31] = [1, 2];
    vcpu.floating_point.fpcr = 0x0100_0000;
    vcpu.timer.cntv_ctl = 1;
    vcpu.timer.cntv_cval = 12345;
    vcpu.interface.vmcr = 0xF04C_0002;
    vcpu.interface.active_priorities[1][0] = 1 << 20;
    let _ = platform.gic().raise_private(1, 31);
    vcpu
}

fn save(vcpu: &Vcpu, platform: &Platform) -> Vec<(Kind, Vec<u8>)> {
    let mut sink = Sink(Vec::new());
    let mut nth = 0;
    while vcpu.save(platform, nth, &mut sink).is_some() {
        nth += 1;
    }
    sink.0
}

fn restore(vcpu: &mut Vcpu, platform: &Platform, kind: Kind, body: &[u8]) -> Result<(), Errno> {
    let header = Header {
        kind,
        version: 1,
        vcpu: 1,
        length: body.len() as u64,
    };
    vcpu.restore(platform, &header, body)
}

#[test]
fn what_is_saved_is_restored() {
    let here = platform();
    let saved = save(&busy(&here), &here);
    assert_eq!(saved.len(), 4);
    let there = platform();
    let mut vcpu = Vcpu::new(1);
    for (kind, body) in &saved {
        assert_eq!(restore(&mut vcpu, &there, *kind, body), Ok(()));
    }
    assert_eq!(save(&vcpu, &there), saved);
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let here = platform();
    for (kind, body) in save(&busy(&here), &here) {
        for bit in 0..8 * body.len() {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let there = platform();
            let mut vcpu = Vcpu::new(1);
            if restore(&mut vcpu, &there, kind, &flipped).is_ok() {
                let mode = vcpu.context.pstate & 0x1F;
                assert!(
                    matches!(mode, 0 | 4 | 5 | 0x10),
                    "bit {bit}: mode {mode:#x}"
                );
                assert_eq!(vcpu.system.vmpidr_el2, psci::mpidr_of(1));
            }
        }
    }
}

#[test]
fn a_state_above_the_guest_is_refused() {
    for mode in [
        0b0_1000, 0b0_1001, 0b0_1100, 0b0_1101, 0b1_0011, 0b1_1010, 0b1_0110,
    ] {
        assert_eq!(check_pstate(mode), Err(Errno::EINVAL), "{mode:#b}");
    }
    assert_eq!(check_pstate(!0x1F | 5), Ok(0xF1C0_1FC5));
}

#[test]
fn the_wrong_length_version_or_kind_is_refused() {
    let here = platform();
    let mut vcpu = Vcpu::new(1);
    let short = restore(&mut vcpu, &here, Kind::ARM_TIMER, &[0; 31]);
    assert_eq!(short, Err(Errno::EINVAL));
    let foreign = restore(&mut vcpu, &here, Kind(0x8200), &[]);
    assert_eq!(foreign, Err(Errno::EOPNOTSUPP));
    let header = Header {
        kind: Kind::ARM_TIMER,
        version: 2,
        ..Header::default()
    };
    let newer = vcpu.restore(&here, &header, &[0; 32]);
    assert_eq!(newer, Err(Errno::EOPNOTSUPP));
}
