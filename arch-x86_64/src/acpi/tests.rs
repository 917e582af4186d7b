use std::vec::Vec;

use super::*;

/// Memory with parts at addresses.
struct Parts(Vec<(u64, &'static [u8])>);

impl Memory for Parts {
    fn bytes(&self, address: u64, length: u64) -> Option<&'static [u8]> {
        self.0.iter().find_map(|(base, bytes)| {
            let offset = usize::try_from(address.checked_sub(*base)?).ok()?;
            bytes.get(offset..offset.checked_add(usize::try_from(length).ok()?)?)
        })
    }
}

fn finish(mut bytes: Vec<u8>, sum_at: usize) -> &'static [u8] {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[sum_at] = bytes[sum_at].wrapping_sub(sum);
    bytes.leak()
}

fn table_of(signature: &[u8; 4], body: &[u8]) -> &'static [u8] {
    let mut bytes = signature.to_vec();
    bytes.extend((HEADER as u32 + body.len() as u32).to_le_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend(body);
    finish(bytes, 9)
}

fn machine() -> Parts {
    let mut rsdp = b"RSD PTR ".to_vec();
    rsdp.resize(16, 0);
    rsdp.extend(0x1000_u32.to_le_bytes());
    let rsdp = finish(rsdp, 8);
    let pointers: Vec<u8> = [0x2000_u32, 0x3000, 0x4000, 0x5000]
        .iter()
        .flat_map(|address| address.to_le_bytes())
        .collect();
    let mut madt = [0; 8].to_vec();
    madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    madt.extend([0, 8, 1, 1, 1, 0, 0, 0]);
    madt.extend([0, 8, 2, 2, 0, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
    madt.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    let mut mcfg = [0; 8].to_vec();
    mcfg.extend(0xB000_0000_u64.to_le_bytes());
    mcfg.extend([0, 0, 0, 255, 0, 0, 0, 0]);
    let mut hpet = [0; 8].to_vec();
    hpet.extend(0xFED0_0000_u64.to_le_bytes());
    let mut fadt = [0; 96].to_vec();
    fadt[4..8].copy_from_slice(&0x6000_u32.to_le_bytes());
    fadt[28..32].copy_from_slice(&0x604_u32.to_le_bytes());
    fadt[40..44].copy_from_slice(&0x608_u32.to_le_bytes());
    fadt[76..80].copy_from_slice(&(1_u32 << 10).to_le_bytes());
    fadt[80] = 1;
    fadt[84..92].copy_from_slice(&0xCF9_u64.to_le_bytes());
    fadt[92] = 0xF;
    let dsdt = table_of(b"DSDT", b"\x08_S5_\x12\x06\x04\x0A\x05\x00\x00\x00");
    let parts = std::vec![
        (0xF_0010, rsdp),
        (0x1000, table_of(b"RSDT", &pointers)),
        (0x2000, table_of(b"APIC", &madt)),
        (0x3000, table_of(b"MCFG", &mcfg)),
        (0x4000, table_of(b"HPET", &hpet)),
        (0x5000, table_of(b"FACP", &fadt)),
        (0x6000, dsdt),
    ];
    Parts(parts)
}

#[test]
fn a_machine_is_described() {
    let tables = read(&machine(), 0xF_0010).expect("sound tables");
    assert_eq!(tables.cpus.as_slice(), [0, 1]);
    assert_eq!(tables.io_apic, Some((0xFEC0_0000, 0)));
    assert_eq!(tables.overrides.as_slice(), [(0, 2, 0)]);
    assert_eq!(tables.pci, Some((0xB000_0000, 0, 255)));
    assert_eq!(tables.hpet, Some(0xFED0_0000));
    assert_eq!(
        (tables.pm_timer, tables.pm_control),
        (Some(0x608), Some(0x604))
    );
    assert_eq!(tables.off, Some(5));
    assert_eq!(tables.reset, Some((0xCF9, 0xF)));
}

#[test]
fn no_truncation_and_no_flipped_bit_panics() {
    let whole = machine();
    for (index, (base, bytes)) in whole.0.iter().enumerate() {
        for length in 0..bytes.len() {
            let mut parts = machine();
            parts.0[index] = (*base, &bytes[..length]);
            let _any = read(&parts, 0xF_0010);
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if index > 0 {
                // With a sum that is right again.
                let sum = damaged
                    .iter()
                    .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                damaged[9] = damaged[9].wrapping_sub(sum);
            }
            let mut parts = machine();
            parts.0[index] = (*base, damaged.leak());
            let _any = read(&parts, 0xF_0010);
        }
    }
}

#[test]
fn the_root_is_found_where_a_bios_leaves_it() {
    let mut area = std::vec![0; 0x2_0000];
    area[0x1_2340..0x1_2348].copy_from_slice(b"RSD PTR ");
    let memory = Parts(std::vec![(0xE_0000, area.leak())]);
    assert_eq!(find_rsdp(&memory), Some(0xF_2340));
}
