//! One vCPU's records, there and back, and with every bit of them wrong.

use hv_common::arch::{Platform as _, PlatformConfig, Vcpu as _};
use std::vec::Vec;

use super::*;
use crate::platform::Controller;
use crate::vgic::Frame;

const VERSIONS: [Version; 2] = [Version::V2, Version::V3];

struct Sink(Vec<(Kind, Vec<u8>)>);

impl RecordSink for Sink {
    fn put(&mut self, kind: Kind, _: u32, body: &[u8]) -> bool {
        self.0.push((kind, body.to_vec()));
        true
    }
}

fn platform(version: Version) -> Platform {
    let config = PlatformConfig {
        vcpus: 2,
        hardware: false,
        hypervisor_visible: true,
        guest_id: hv_abi::DomId(1),
    };
    let controller = match version {
        Version::V2 => Controller::V2 {
            distributor: 0x0300_1000,
            cpu_interface: 0x0300_2000,
            virtual_interface: 0x0804_0000,
        },
        Version::V3 => Controller::V3 {
            distributor: 0x0300_1000,
            redistributors: 0x0302_0000,
        },
    };
    Platform::at(controller, &config, 0)
}

/// A vCPU as Linux might leave it.
fn busy(platform: &Platform) -> Vcpu {
    let mut vcpu = Vcpu::new(1, 0);
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
    let group = usize::from(platform.version() == Version::V3);
    vcpu.interface.active_priorities[group][0] = 1 << 20;
    let mut gic = platform.gic();
    let _ = gic.raise_private(1, 31);
    if platform.version() == Version::V2 {
        // SGI 3 from vCPU 0, to vCPU 1.
        let _ = gic.write(Frame::Banked(0), 0xF00, 4, 0x2_0003);
    }
    drop(gic);
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
    for version in VERSIONS {
        let here = platform(version);
        let saved = save(&busy(&here), &here);
        assert_eq!(saved.len(), 4);
        let there = platform(version);
        let mut vcpu = Vcpu::new(1, 0);
        for (kind, body) in &saved {
            assert_eq!(restore(&mut vcpu, &there, *kind, body), Ok(()));
        }
        assert_eq!(save(&vcpu, &there), saved);
    }
}

#[test]
fn another_interrupt_controllers_records_are_refused() {
    for (here, other) in [(Version::V2, Version::V3), (Version::V3, Version::V2)] {
        let (here, other) = (platform(here), platform(other));
        let mut vcpu = Vcpu::new(1, 0);
        let saved = save(&busy(&here), &here);
        let (kind, body) = saved.last().expect("the controller's is the last");
        assert_eq!(restore(&mut vcpu, &other, *kind, body), Err(Errno::EXDEV));
        let mut sink = Sink(Vec::new());
        assert!(here.save(0, &mut sink).is_some());
        let (kind, body) = &sink.0[0];
        let header = Header {
            kind: *kind,
            version: 1,
            ..Header::default()
        };
        assert_eq!(other.restore(&header, body), Err(Errno::EXDEV));
        assert_eq!(here.restore(&header, body), Ok(()));
    }
}

#[test]
fn what_no_guest_of_a_gicv2_can_do_is_refused() {
    let here = platform(Version::V2);
    let good = {
        let saved = save(&busy(&here), &here);
        let (_, body) = saved.last().expect("the controller's is the last");
        Gicv2Interface::read_from_bytes(body).expect("a record")
    };
    assert_eq!((good.sgi_pending[3], good.gicc_pmr), (1, 0xF0));
    let changes: [fn(&mut Gicv2Interface); 10] = [
        |record| record.sgi_pending[3] = 0,
        |record| record.sgi_pending[3] = 4,
        |record| record.bank.pending &= !(1 << 3),
        |record| record.sgi_active[0] = 2,
        |record| record.bank.enabled = 0,
        |record| record.bank.edge = 0,
        |record| record.gicc_ctlr |= 1 << 5,
        |record| record.gicc_pmr |= 1,
        |record| record.gicc_abpr = 8,
        |record| record.reserved = 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut record = good;
        change(&mut record);
        let there = platform(Version::V2);
        let kind = Kind::ARM_GICV2_INTERFACE;
        let outcome = restore(&mut Vcpu::new(1, 0), &there, kind, record.as_bytes());
        assert_eq!(outcome, Err(Errno::EINVAL), "change {number}");
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let platforms = VERSIONS.map(platform);
    let all = platforms.each_ref().map(|here| save(&busy(here), here));
    let versions = VERSIONS.into_iter().zip(all);
    let records = versions
        .flat_map(|(version, records)| records.into_iter().map(move |record| (version, record)));
    for (version, (kind, body)) in records {
        for bit in 0..8 * body.len() {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let there = platform(version);
            let mut vcpu = Vcpu::new(1, 0);
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
    let here = platform(Version::V3);
    let mut vcpu = Vcpu::new(1, 0);
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
