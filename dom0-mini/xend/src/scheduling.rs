//! What a domain may use of the CPUs: from its configuration into the hypervisor, and what an operator changes back into
//! the configuration, so that it lasts through reboot, save and restore.

use crate::domain::{Domain, Plan};
use crate::hypervisor::{Answer, Hypervisor};
use crate::refusal::refused;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::DomId;
use hv_abi::control::domain::{CAP_MAX, VCPUS_MAX, WEIGHT_MAX};
use mgmt_proto::config::{Affinity, CpuSet, DomainConfig};
use mgmt_proto::messages::{ErrorCode, Failure, MAX_CONFIG};

/// The line before what was changed while a domain ran. What follows counts more than what is above.
const MARK: &str = "# changed while it ran";
/// Weight of a domain whose configuration says nothing.
const WEIGHT_DEFAULT: u16 = 256;

/// CPUs of the host, a bit for each.
pub(crate) fn all_cpus<H: Hypervisor>(hypervisor: &mut H) -> u64 {
    let count = hypervisor.host_info().map_or(1, |host| host.cpus.max(1));
    1_u64
        .checked_shl(count)
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

/// Whether vCPUs may be kept to these CPUs on a host that has `all`.
pub(crate) fn check_cpus(cpus: u64, all: u64) -> Result<(), Failure> {
    if cpus & all != 0 {
        return Ok(());
    }
    let sentence = format!("this host has none of these CPUs; it has {}", CpuSet(all));
    Err(Failure::new(ErrorCode::BAD_CONFIG, sentence).with_remedy("name some of those, or \"all\""))
}

/// Whether a domain may have this weight and cap.
pub(crate) fn check(weight: u32, cap: u32) -> Result<(), Failure> {
    let no = |sentence: String, remedy: &str| {
        Err(Failure::new(ErrorCode::BAD_REQUEST, sentence).with_remedy(remedy))
    };
    if weight == 0 || weight > WEIGHT_MAX {
        let sentence = format!("a weight of {weight} makes no sense");
        return no(sentence, "use 1 to 65535; 256 is usual");
    }
    if cap > CAP_MAX {
        let sentence = format!("a cap of {cap} % is more than {VCPUS_MAX} vCPUs can use");
        return no(sentence, "use percent of one CPU, or 0 for no cap");
    }
    Ok(())
}

/// Whether a configuration can be followed on this host.
pub(crate) fn check_config<H: Hypervisor>(
    hypervisor: &mut H,
    config: &DomainConfig,
) -> Result<(), Failure> {
    check(u32::from(config.cpu_weight), u32::from(config.cap))?;
    let all = all_cpus(hypervisor);
    (0..config.max_vcpus).try_for_each(|vcpu| check_cpus(config.affinity.of(vcpu).0, all))
}

/// Tells the hypervisor what a new domain's configuration says.
pub(crate) fn apply<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    config: &DomainConfig,
) -> Result<(), Failure> {
    let told = tell(hypervisor, domid, config);
    told.map_err(|errno| refused("set the domain's weight, cap and CPUs", errno))
}

fn tell<H: Hypervisor>(hypervisor: &mut H, domid: DomId, config: &DomainConfig) -> Answer<()> {
    let (weight, cap) = (config.cpu_weight, config.cap);
    if (weight, cap) != (WEIGHT_DEFAULT, 0) {
        hypervisor.set_scheduling(domid, u32::from(weight), u32::from(cap))?;
    }
    for vcpu in 0..config.max_vcpus {
        let cpus = config.affinity.of(vcpu);
        if cpus != CpuSet::ALL {
            hypervisor.set_affinity(domid, vcpu, cpus.0)?;
        }
    }
    Ok(())
}

/// Takes a change into a domain's configuration.
pub(crate) fn remember<H: Hypervisor>(
    domain: &mut Domain<H>,
    change: impl FnOnce(&mut DomainConfig),
) {
    let mut config = domain.plan.config.clone();
    change(&mut config);
    let text = written(&domain.plan.text, &config);
    domain.plan = Rc::new(Plan {
        // A text without room keeps what it said: the change is lost with the machine then.
        text: text.unwrap_or_else(|| domain.plan.text.clone()),
        config,
        kernel: domain.plan.kernel.clone(),
        ramdisk: domain.plan.ramdisk.clone(),
    });
}

/// Each vCPU's CPUs, with some of them changed.
pub(crate) fn pinned(config: &DomainConfig, vcpus: core::ops::Range<u32>, cpus: u64) -> Affinity {
    let of = |vcpu| {
        if vcpus.contains(&vcpu) {
            CpuSet(cpus)
        } else {
            config.affinity.of(vcpu)
        }
    };
    Affinity::Each((0..config.max_vcpus).map(of).collect())
}

fn written(text: &str, config: &DomainConfig) -> Option<String> {
    let own = text.split(MARK).next().unwrap_or_default();
    let gap = if own.is_empty() || own.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let sets = (0..config.max_vcpus).map(|vcpu| format!("\"{}\"", config.affinity.of(vcpu)));
    let sets: Vec<String> = sets.collect();
    let whole = format!(
        "{own}{gap}{MARK}\ncpu_weight = {}\ncap = {}\ncpus = [{}]\n",
        config.cpu_weight,
        config.cap,
        sets.join(", ")
    );
    (whole.len() <= MAX_CONFIG).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mgmt_proto::config::ConfigFile;

    fn config(text: &str) -> DomainConfig {
        let file = ConfigFile::parse("a.cfg", text).unwrap();
        DomainConfig::from_file(&file).unwrap().0
    }

    #[test]
    fn what_is_written_is_read_again_and_replaced_by_the_next() {
        let text = "name = 'a'\nmemory = 2\nkernel = '/k'\nvcpus = 2\ncap = 20";
        let mut changed = config(text);
        changed.cpu_weight = 512;
        changed.affinity = pinned(&changed, 1..2, 0b110);
        let once = written(text, &changed).unwrap();
        let read = config(&once);
        assert_eq!((read.cpu_weight, read.cap), (512, 20));
        assert_eq!(read.affinity.of(0), CpuSet::ALL);
        assert_eq!(read.affinity.of(1), CpuSet(0b110));
        changed.cap = 0;
        let twice = written(&once, &changed).unwrap();
        assert_eq!(twice.matches(MARK).count(), 1);
        assert_eq!(config(&twice).cap, 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        assert!(check(256, 0).is_ok() && check(65_535, 1600).is_ok());
        assert!(check(0, 0).unwrap_err().message.contains("weight"));
        assert!(check(1, 1601).unwrap_err().message.contains("cap"));
        let failure = check_cpus(0b1_0000, 0b11).unwrap_err();
        assert!(failure.message.contains("it has 0-1"), "{failure}");
        assert!(check_cpus(0b1_0001, 0b11).is_ok());
    }
}
