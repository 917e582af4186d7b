//! The device tree of a new arm64 domain.
//!
//! It says only what the guest has: CPUs, memory, the interrupt controller, the timer, PSCI, and either that it runs on
//! Xen (Linux, Documentation/devicetree/bindings/arm/xen.txt) or, for one of type `hvm`, a serial line and a clock.
//! Addresses and interrupts are those of [`hv_abi::layout`].

use super::placement::{Placement, TREE_MAX};
use crate::hypervisor::Run;
use alloc::{format, string::String, vec::Vec};
use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use hv_abi::layout::arm::{
    EVENT_INTID, GICC_BASE, GICC_SIZE, GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE,
    GICV2_GICD_SIZE, GRANT_BASE, GRANT_SIZE, PHYSICAL_TIMER_INTID, PL011_BASE, PL011_INTID,
    PL031_BASE, PL031_INTID, VIRTUAL_TIMER_INTID,
};
use mgmt_proto::messages::DomainKind;

/// The interrupt controller's phandle.
const GIC: u32 = 1;
/// The phandle of the clock that devices want to name.
const CLOCK: u32 = 2;
/// Its rate: what boards give a PL011.
const CLOCK_HZ: u32 = 24_000_000;
/// First INTID of the shared peripheral interrupts.
const SPI: u32 = 32;
/// Level-triggered, active high.
const LEVEL_HIGH: u32 = 4;
/// Bytes of a device's registers.
const DEVICE_SIZE: u64 = 0x1000;
/// First INTID of the private peripheral interrupts.
const PPI: u32 = 16;
/// INTID of the secure physical timer, which no guest uses and the binding wants.
const SECURE_TIMER_INTID: u32 = 29;
/// Level-triggered, active low, for all CPUs: what the bindings say for timers and Xen's event interrupt.
const LEVEL_LOW: u32 = 0xf08;

/// What differs between domains.
#[derive(Clone, Debug)]
pub(crate) struct Guest<'a> {
    /// Whether it knows Xen.
    pub(crate) kind: DomainKind,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
    /// CPUs.
    pub(crate) vcpus: u32,
    /// Version of the interrupt controller, 2 or 3: the host's.
    pub(crate) gic_version: u32,
    /// RAM.
    pub(crate) banks: &'a [Run],
    /// Length of the initrd, 0: none.
    pub(crate) ramdisk_length: u64,
    /// Where it is.
    pub(crate) placement: Placement,
    /// Randomness for the guest's generator.
    pub(crate) seed: [u8; 64],
    /// And for where its kernel places itself: without it Linux warns.
    pub(crate) kaslr_seed: [u8; 8],
}

/// The tree's bytes; none if they are more than [`TREE_MAX`], which no configuration within its bounds reaches.
#[must_use]
pub(crate) fn build(guest: &Guest<'_>) -> Option<Vec<u8>> {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    let is_hvm = guest.kind == DomainKind::HVM;
    let model = if is_hvm {
        strings(&["linux,dummy-virt"])
    } else {
        strings(&["xen,xenvm-4.17", "xen,xenvm"])
    };
    put(root, "#address-cells", 2_u32);
    put(root, "#size-cells", 2_u32);
    put(root, "interrupt-parent", GIC);
    put(root, "model", "ALCOVE-VM");
    put(root, "compatible", model);
    root.add_child(chosen(guest));
    root.add_child(psci());
    root.add_child(cpus(guest.vcpus));
    guest
        .banks
        .iter()
        .for_each(|bank| root.add_child(memory(*bank)));
    root.add_child(interrupt_controller(guest.gic_version, guest.vcpus));
    root.add_child(timer());
    if is_hvm {
        root.add_child(clock());
        root.add_child(serial());
        root.add_child(rtc());
    } else {
        root.add_child(hypervisor());
    }
    let bytes = tree.to_dtb();
    (bytes.len() as u64 <= TREE_MAX).then_some(bytes)
}

fn chosen(guest: &Guest<'_>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("chosen");
    put(&mut node, "bootargs", guest.command_line);
    if guest.kind == DomainKind::HVM {
        put(
            &mut node,
            "stdout-path",
            format!("/{}", at("serial", PL011_BASE)).as_str(),
        );
    }
    if guest.ramdisk_length > 0 {
        let start = guest.placement.ramdisk;
        put(&mut node, "linux,initrd-start", start);
        let end = start.saturating_add(guest.ramdisk_length);
        put(&mut node, "linux,initrd-end", end);
    }
    put(&mut node, "rng-seed", guest.seed);
    put(&mut node, "kaslr-seed", guest.kaslr_seed);
    node
}

fn psci() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("psci");
    let versions = strings(&["arm,psci-1.0", "arm,psci-0.2"]);
    put(&mut node, "compatible", versions);
    put(&mut node, "method", "hvc");
    node
}

fn cpus(count: u32) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("cpus");
    put(&mut node, "#address-cells", 1_u32);
    put(&mut node, "#size-cells", 0_u32);
    for cpu in 0..count {
        let mut child = DeviceTreeNode::new_unchecked(format!("cpu@{cpu:x}"));
        put(&mut child, "device_type", "cpu");
        put(&mut child, "compatible", "arm,armv8");
        put(&mut child, "enable-method", "psci");
        put(&mut child, "reg", cpu);
        node.add_child(child);
    }
    node
}

fn memory(bank: Run) -> DeviceTreeNode {
    let base = bank.gfn.saturating_mul(4096);
    let mut node = DeviceTreeNode::new_unchecked(format!("memory@{base:x}"));
    put(&mut node, "device_type", "memory");
    put(
        &mut node,
        "reg",
        regions(&[(base, bank.count.saturating_mul(4096))]),
    );
    node
}

fn interrupt_controller(version: u32, vcpus: u32) -> DeviceTreeNode {
    let name = format!("interrupt-controller@{GICD_BASE:x}");
    let mut node = DeviceTreeNode::new_unchecked(name);
    let redistributors = GICR_STRIDE.saturating_mul(u64::from(vcpus));
    let (compatible, frames) = match version {
        2 => (
            strings(&["arm,gic-400", "arm,cortex-a15-gic"]),
            [(GICD_BASE, GICV2_GICD_SIZE), (GICC_BASE, GICC_SIZE)],
        ),
        _ => (
            strings(&["arm,gic-v3"]),
            [(GICD_BASE, GICD_SIZE), (GICR_BASE, redistributors)],
        ),
    };
    put(&mut node, "compatible", compatible);
    put(&mut node, "#interrupt-cells", 3_u32);
    put(&mut node, "#address-cells", 0_u32);
    put(&mut node, "interrupt-controller", [0_u8; 0]);
    put(&mut node, "reg", regions(&frames));
    put(&mut node, "phandle", GIC);
    node
}

fn timer() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("timer");
    let interrupts = [
        SECURE_TIMER_INTID,
        PHYSICAL_TIMER_INTID,
        VIRTUAL_TIMER_INTID,
    ]
    .map(private_interrupt);
    put(&mut node, "compatible", "arm,armv8-timer");
    put(&mut node, "interrupts", interrupts.concat());
    node
}

fn hypervisor() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("hypervisor");
    put(
        &mut node,
        "compatible",
        strings(&["xen,xen-4.17", "xen,xen"]),
    );
    put(&mut node, "reg", regions(&[(GRANT_BASE, GRANT_SIZE)]));
    put(&mut node, "interrupts", private_interrupt(EVENT_INTID));
    node
}

fn clock() -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("apb-pclk");
    put(&mut node, "compatible", "fixed-clock");
    put(&mut node, "#clock-cells", 0_u32);
    put(&mut node, "clock-frequency", CLOCK_HZ);
    put(&mut node, "clock-output-names", "clk24mhz");
    put(&mut node, "phandle", CLOCK);
    node
}

fn serial() -> DeviceTreeNode {
    let mut node = device("serial", "arm,pl011", PL011_BASE, PL011_INTID);
    put(&mut node, "clocks", [CLOCK, CLOCK]);
    put(&mut node, "clock-names", strings(&["uartclk", "apb_pclk"]));
    node
}

fn rtc() -> DeviceTreeNode {
    let mut node = device("rtc", "arm,pl031", PL031_BASE, PL031_INTID);
    put(&mut node, "clocks", CLOCK);
    put(&mut node, "clock-names", "apb_pclk");
    node
}

/// A PrimeCell.
fn device(name: &str, compatible: &str, base: u64, intid: u32) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(at(name, base));
    put(
        &mut node,
        "compatible",
        strings(&[compatible, "arm,primecell"]),
    );
    put(&mut node, "reg", regions(&[(base, DEVICE_SIZE)]));
    let interrupt = [0, intid.saturating_sub(SPI), LEVEL_HIGH];
    put(&mut node, "interrupts", interrupt);
    node
}

fn at(name: &str, base: u64) -> String {
    format!("{name}@{base:x}")
}

fn private_interrupt(intid: u32) -> [u32; 3] {
    [1, intid.saturating_sub(PPI), LEVEL_LOW]
}

fn put(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// A list of strings, each with its end.
fn strings(list: &[&str]) -> Vec<u8> {
    list.iter()
        .flat_map(|text| text.bytes().chain([0]))
        .collect::<Vec<u8>>()
}

/// `reg` with two address and two size cells.
fn regions(list: &[(u64, u64)]) -> Vec<u8> {
    list.iter()
        .flat_map(|(base, size)| [base.to_be_bytes(), size.to_be_bytes()])
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Guest, build};
    use crate::build::placement::{Placement, banks};
    use crate::platform::Architecture;
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};
    use mgmt_proto::messages::DomainKind;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::string::String;
    use std::vec::Vec;

    fn tree(memory_mib: u64, vcpus: u32, ramdisk_length: u64) -> Vec<u8> {
        tree_for(3, memory_mib, vcpus, ramdisk_length)
    }

    fn tree_for(gic_version: u32, memory_mib: u64, vcpus: u32, ramdisk_length: u64) -> Vec<u8> {
        tree_of(
            DomainKind::PVH,
            gic_version,
            memory_mib,
            vcpus,
            ramdisk_length,
        )
    }

    fn tree_of(
        kind: DomainKind,
        gic_version: u32,
        memory_mib: u64,
        vcpus: u32,
        ramdisk_length: u64,
    ) -> Vec<u8> {
        let guest = Guest {
            kind,
            command_line: "console=hvc0 root=/dev/ram0",
            vcpus,
            gic_version,
            banks: &banks(Architecture::Arm64.places(), memory_mib).unwrap(),
            ramdisk_length,
            placement: Placement {
                kernel: 0x4000_0000,
                ramdisk: 0x4200_0000,
                tree: 0x4300_0000,
            },
            seed: [7; 64],
            kaslr_seed: [9; 8],
        };
        build(&guest).unwrap()
    }

    #[test]
    fn the_tree_says_what_the_guest_has() {
        let bytes = tree(4096, 2, 0x1234);
        let fdt = Fdt::new(&bytes).unwrap();
        let property = |path: &str, name: &str| -> Vec<u8> {
            let node = fdt.find_node(path).unwrap();
            node.property(name).unwrap().value().to_vec()
        };
        assert_eq!(
            property("/chosen", "linux,initrd-end"),
            0x4200_1234_u64.to_be_bytes()
        );
        assert_eq!(
            property("/chosen", "bootargs"),
            b"console=hvc0 root=/dev/ram0\0"
        );
        assert_eq!(
            property("/hypervisor", "compatible"),
            b"xen,xen-4.17\0xen,xen\0"
        );
        let event = [1_u32, 15, 0xf08].map(u32::to_be_bytes).concat();
        assert_eq!(property("/hypervisor", "interrupts"), event);
        assert_eq!(property("/cpus/cpu@1", "reg"), 1_u32.to_be_bytes());
        let high = [0x2_0000_0000_u64, 0x4000_0000]
            .map(u64::to_be_bytes)
            .concat();
        assert_eq!(property("/memory@200000000", "reg"), high);
    }

    #[test]
    fn the_interrupt_controller_is_of_the_hosts_version() {
        for (version, compatible, second) in [
            (
                2,
                &b"arm,gic-400\0arm,cortex-a15-gic\0"[..],
                0x0300_2000_u64,
            ),
            (3, &b"arm,gic-v3\0"[..], 0x0302_0000),
        ] {
            let bytes = tree_for(version, 128, 2, 0);
            let fdt = Fdt::new(&bytes).unwrap();
            let node = fdt.find_node("/interrupt-controller@3001000").unwrap();
            let property = |name: &str| node.property(name).unwrap().value().to_vec();
            assert_eq!(property("compatible"), compatible);
            assert_eq!(property("reg")[16..24], second.to_be_bytes());
        }
    }

    #[test]
    fn a_guest_that_does_not_know_xen_finds_a_serial_line_and_a_clock() {
        let bytes = tree_of(DomainKind::HVM, 3, 256, 1, 0);
        let fdt = Fdt::new(&bytes).unwrap();
        let property = |path: &str, name: &str| -> Vec<u8> {
            let node = fdt.find_node(path).unwrap();
            node.property(name).unwrap().value().to_vec()
        };
        assert!(fdt.find_node("/hypervisor").is_none());
        assert!(!bytes.windows(3).any(|word| word == b"xen"));
        assert_eq!(property("/chosen", "stdout-path"), b"/serial@22000000\0");
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        assert_eq!(
            property("/serial@22000000", "interrupts"),
            words(&[0, 0, 4])
        );
        assert_eq!(property("/serial@22000000", "clocks"), words(&[2, 2]));
        assert_eq!(property("/apb-pclk", "phandle"), words(&[2]));
        assert_eq!(
            property("/rtc@22010000", "reg"),
            words(&[0, 0x2201_0000, 0, 0x1000])
        );
    }

    #[test]
    fn dtc_has_no_complaint() {
        for (kind, gic, memory, vcpus, ramdisk) in [
            (DomainKind::PVH, 3, 128, 1, 0),
            (DomainKind::PVH, 3, 4096, 16, 5_000_000),
            (DomainKind::PVH, 2, 4096, 8, 0),
            (DomainKind::HVM, 3, 4096, 2, 0),
        ] {
            let compiler = Command::new("dtc")
                .args(["-I", "dtb", "-O", "dts", "-o", "/dev/null", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut compiler) = compiler else {
                std::eprintln!("dtc is not installed: the tree is not checked");
                return;
            };
            // The binding names Xen's node without an address, and Linux looks for exactly that name.
            let expected = "unit_address_vs_reg): /hypervisor: node";
            let mut input = compiler.stdin.take().unwrap();
            input
                .write_all(&tree_of(kind, gic, memory, vcpus, ramdisk))
                .unwrap();
            drop(input);
            let output = compiler.wait_with_output().unwrap();
            assert!(output.status.success());
            let complaints = String::from_utf8_lossy(&output.stderr);
            let others: Vec<&str> = complaints
                .lines()
                .filter(|line| !line.contains(expected))
                .collect();
            assert!(others.is_empty(), "{others:?}");
        }
    }
}
