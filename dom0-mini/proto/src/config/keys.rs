// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of xl.cfg(5), and what becomes of each.

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It means something here.
    Used,
    /// It has no effect here, for the reason given; a warning says so.
    Ignored(&'static str),
    /// What it asks for is not there: unless empty, the configuration is refused.
    Refused {
        reason: &'static str,
        remedy: &'static str,
    },
}

const DISPLAY: &str = "domains have no display here; use 'xenman console'";
const SERIAL: &str = "the console is always there; use 'xenman console'";
const SOUND: &str = "there is no sound or USB hardware for domains";
const PLATFORM: &str = "the platform decides this itself";
const TOOLSTACK: &str = "it concerns Xen's own tools";

const DISK: Treatment = Treatment::Refused {
    reason: "disks are not there yet",
    remedy: "remove the line and boot from an initrd: ramdisk = \"…\"",
};
const NETWORK: Treatment = Treatment::Refused {
    reason: "network interfaces are not there yet",
    remedy: "remove the line; the domain's console works without one",
};
const PASSTHROUGH: Treatment = Treatment::Refused {
    reason: "handing devices to a domain is not there yet",
    remedy: "remove the line",
};
const BOOTLOADER: Treatment = Treatment::Refused {
    reason: "boot loaders are not there: the kernel is loaded directly",
    remedy: "name the kernel itself: kernel = \"…\", ramdisk = \"…\"",
};
const FIRMWARE: Treatment = Treatment::Refused {
    reason: "guest firmware is not there: the kernel is loaded directly",
    remedy: "name the kernel itself: kernel = \"…\", ramdisk = \"…\"",
};
const DEVICE_MODEL: Treatment = Treatment::Refused {
    reason: "there is no separate device model to choose",
    remedy: "remove the line",
};
const FEATURE: Treatment = Treatment::Refused {
    reason: "this feature is not there",
    remedy: "remove the line",
};

/// What becomes of `key`; none for one nobody knows.
pub(super) fn treatment(key: &str) -> Option<Treatment> {
    GROUPS
        .iter()
        .find(|(keys, _)| keys.contains(&key))
        .map(|(_, treatment)| *treatment)
}

/// All keys there are.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(keys, _)| keys.iter().copied())
}

type Group = (&'static [&'static str], Treatment);

const GROUPS: [Group; 13] = [
    (
        &[
            "name",
            "uuid",
            "type",
            "builder",
            "pvh",
            "memory",
            "maxmem",
            "vcpus",
            "maxvcpus",
            "kernel",
            "ramdisk",
            "extra",
            "root",
            "cmdline",
            "on_poweroff",
            "on_reboot",
            "on_crash",
            "on_watchdog",
            "cpu_weight",
            "cap",
            "cpus",
            "on_xend_start",
            "autostart_order",
            "autostart_delay",
        ],
        Treatment::Used,
    ),
    (
        &[
            "vfb",
            "vnc",
            "vnclisten",
            "vncdisplay",
            "vncunused",
            "vncpasswd",
            "vncconsole",
            "vncviewer",
            "sdl",
            "opengl",
            "stdvga",
            "vga",
            "videoram",
            "keymap",
            "nographic",
            "spice",
            "spiceport",
            "spicetls_port",
            "spicehost",
            "spicedisable_ticketing",
            "spicepasswd",
            "spiceagent_mouse",
            "spicevdagent",
            "spice_clipboard_sharing",
            "spiceusbredirection",
            "spice_image_compression",
            "spice_streaming_video",
            "display",
            "xauthority",
            "gfx_passthru",
            "vkb",
            "vdispl",
        ],
        Treatment::Ignored(DISPLAY),
    ),
    (
        &["serial", "console", "channel", "monitor"],
        Treatment::Ignored(SERIAL),
    ),
    (
        &[
            "soundhw",
            "vsnd",
            "usb",
            "usbdevice",
            "usbversion",
            "usbctrl",
            "usbdev",
            "xen_platform_pci",
        ],
        Treatment::Ignored(SOUND),
    ),
    (
        &[
            "acpi",
            "apic",
            "pae",
            "hap",
            "nx",
            "hpet",
            "vpt_align",
            "timer_mode",
            "localtime",
            "rtc_timeoffset",
            "tsc_mode",
            "viridian",
            "cpuid",
            "oos",
            "shadow_memory",
            "e820_host",
            "features",
            "boot",
            "bios",
            "acpi_s3",
            "acpi_s4",
            "acpi_s5",
            "mmio_hole",
            "xen_extended_power_mgmt",
            "suppress_spurious_page_faults",
            "gic_version",
            "vuart",
            "sve",
            "passthrough",
            "vmware_hwver",
            "vmware_port",
            "hdtype",
            "max_grant_version",
            "max_grant_frames",
            "max_maptrack_frames",
            "event_channels",
            "claim_mode",
            "dma_restrict",
            "grant_usage",
            "nomigrate",
            "tm",
        ],
        Treatment::Ignored(PLATFORM),
    ),
    (
        &[
            "pool",
            "seclabel",
            "init_seclabel",
            "exec_ssidref",
            "device_model_user",
            "run_hotplug_scripts",
            "driver_domain",
            "on_soft_reset",
            "on_xend_stop",
            "vcpu_affinity",
            "cpus_soft",
            "vnuma",
            "timer",
            "bootargs",
            "dm_restrict",
            "vmid",
            "suspend_cancel",
            "cpu",
            "numa_placement",
            "xenstore_feature_mask",
        ],
        Treatment::Ignored(TOOLSTACK),
    ),
    (&["disk", "cdrom", "vscsi", "root_disk"], DISK),
    (
        &["vif", "nics", "dhcp", "vif2", "netmask", "gateway", "ip"],
        NETWORK,
    ),
    (
        &[
            "pci",
            "pci_msitranslate",
            "pci_permissive",
            "pci_seize",
            "pci_power_mgmt",
            "rdm",
            "rdm_mem_boundary",
            "ioports",
            "iomem",
            "irqs",
            "dtdev",
            "device_tree",
            "vtpm",
            "p9",
            "pvcalls",
            "vgpu",
            "virtio",
        ],
        PASSTHROUGH,
    ),
    (
        &[
            "bootloader",
            "bootloader_args",
            "bootloader_restrict",
            "bootloader_user",
        ],
        BOOTLOADER,
    ),
    (
        &[
            "firmware",
            "firmware_override",
            "smbios_firmware",
            "acpi_firmware",
            "system_firmware",
        ],
        FIRMWARE,
    ),
    (
        &[
            "device_model",
            "device_model_version",
            "device_model_override",
            "device_model_stubdomain_override",
            "device_model_stubdomain_seclabel",
            "device_model_args",
            "device_model_args_pv",
            "device_model_args_hvm",
            "stubdomain_kernel",
            "stubdomain_ramdisk",
            "stubdomain_cmdline",
            "stubdomain_memory",
        ],
        DEVICE_MODEL,
    ),
    (
        &[
            "nestedhvm",
            "altp2m",
            "altp2mhvm",
            "tee",
            "vmtrace_buf_kb",
            "argo",
            "ioreq_server",
        ],
        FEATURE,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn no_key_is_treated_twice() {
        let mut seen = BTreeSet::new();
        assert!(all().all(|key| seen.insert(key)));
    }
}
