//! The request to create a domain: from its configuration to a build that has begun.

use super::Outcome;
use crate::build::job::Build;
use crate::build::layout::lay_out;
use crate::domain::{Goal, Key, Plan};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::job::Job;
use crate::lifecycle::State;
use crate::platform::Architecture;
use crate::scheduling;
use crate::server::Xend;
use crate::server::loads::Again;
use crate::session::Ticket;
use crate::store::content::Content;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use hv_abi::control::domain::VCPUS_MAX;
use hv_abi::layout::arm::GICV2_VCPUS_MAX;
use mgmt_proto::config::{ConfigFile, DomainConfig, ImageSource, Policies};
use mgmt_proto::messages::{
    Create, DomainKind, ErrorCode, Failure, MAX_CONFIG, NamedBlob, RequestBody,
};

impl<H: Hypervisor> Xend<H> {
    pub(super) fn create(&mut self, ticket: Ticket, create: Create) -> Outcome {
        let to_load = self.images_to_load(&create.origin, &create.config);
        if !to_load.is_empty() {
            let again = Again::Request(ticket, RequestBody::Create(create));
            self.load(to_load, again);
            return None;
        }
        match self.begin_build(ticket.session, create) {
            Ok((key, warnings)) => {
                self.hold(key, ticket.session);
                self.wait_for(key, ticket, Goal::Created(warnings), None);
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    pub(in crate::server) fn begin_build(
        &mut self,
        session: SessionId,
        create: Create,
    ) -> Result<(Key, Vec<String>), Failure> {
        let (text, config, mut warnings) =
            read_config(&create.origin, &create.config, &self.settings.policies)?;
        if config.autostart.is_some() {
            warnings.push("'on_xend_start' has no effect: this domain is not defined".into());
        }
        self.refuse_what_is_not_there(&config)?;
        self.admits_unmanaged(&config)?;
        self.table.admits(&config.name, config.uuid)?;
        let plan = self.plan(session, &create.files, text, config)?;
        let uuid = match plan.config.uuid {
            Some(uuid) => uuid,
            None => self.random_uuid(),
        };
        let key = self.build(plan, uuid, create.paused)?;
        if let Some(client) = self.clients.get_mut(&session) {
            create
                .files
                .iter()
                .for_each(|file| client.release(&file.blob));
        }
        Ok((key, warnings))
    }

    /// What a domain is built from: uploaded by this session, in the boot bundle, or of an image.
    pub(super) fn plan(
        &mut self,
        session: SessionId,
        files: &[NamedBlob],
        text: String,
        config: DomainConfig,
    ) -> Result<Plan<H::Frames>, Failure> {
        Ok(Plan {
            kernel: self.content(session, files, "kernel", &config.kernel)?,
            ramdisk: match &config.ramdisk {
                Some(source) => Some(self.content(session, files, "ramdisk", source)?),
                None => None,
            },
            text,
            config,
        })
    }

    /// Begins to build a domain that the table admits.
    pub(super) fn build(
        &mut self,
        plan: Plan<H::Frames>,
        uuid: [u8; 16],
        paused: bool,
    ) -> Result<Key, Failure> {
        let layout = lay_out(self.architecture(), &plan)?;
        let memory_kib = plan.config.memory_mib.saturating_mul(1024);
        let name = plan.config.name.clone();
        let mut domain = self.new_domain(name, uuid, memory_kib, Rc::new(plan), State::Building);
        domain.start_paused = paused;
        let key = self.table.add(domain);
        self.begin_job(key, Job::Build(Build::new(layout)));
        Ok(key)
    }

    /// Whether a domain could be built of this plan.
    pub(super) fn check_layout(&self, plan: &Plan<H::Frames>) -> Result<(), Failure> {
        lay_out(self.architecture(), plan).map(drop)
    }

    pub(super) fn refuse_what_is_not_there(
        &mut self,
        config: &DomainConfig,
    ) -> Result<(), Failure> {
        let refuse = |sentence: String, remedy: &str| {
            Err(Failure::new(ErrorCode::REFUSED, sentence).with_remedy(remedy))
        };
        let Some(architecture) = Architecture::named(&self.facts.arch) else {
            let sentence = format!("domains on {} hosts are not there yet", self.facts.arch);
            return refuse(sentence, "use an aarch64 or an x86_64 host");
        };
        if config.max_vcpus > VCPUS_MAX {
            let sentence = format!("a domain has at most {VCPUS_MAX} vCPUs");
            return refuse(sentence, "ask for fewer");
        }
        scheduling::check_config(&mut self.hypervisor, config)?;
        match architecture {
            Architecture::Arm64 => self.refuse_what_the_gic_lacks(config),
            Architecture::X86_64 if config.kind == DomainKind::HVM => refuse(
                "type = \"hvm\" needs a whole PC, which there is not yet on x86_64 hosts".into(),
                "use type = \"pvh\" with a kernel that knows Xen, as Linux does",
            ),
            Architecture::X86_64 => Ok(()),
        }
    }

    fn refuse_what_the_gic_lacks(&mut self, config: &DomainConfig) -> Result<(), Failure> {
        let refuse = |sentence: String, remedy: &str| {
            Err(Failure::new(ErrorCode::REFUSED, sentence).with_remedy(remedy))
        };
        let gic = self
            .hypervisor
            .host_info()
            .map_or(0, |host| host.interrupt_controller_version);
        match gic {
            2 if config.max_vcpus > GICV2_VCPUS_MAX => {
                let sentence = format!(
                    "a domain has at most {GICV2_VCPUS_MAX} vCPUs on this host: its interrupt \
                     controller is a GICv2"
                );
                refuse(sentence, "ask for fewer, or use a host with a GICv3")
            }
            2 | 3 => Ok(()),
            _ => {
                let sentence = format!("domains on hosts with a GICv{gic} are not there yet");
                refuse(sentence, "use a host with a GICv2 or a GICv3")
            }
        }
    }

    /// Finds a kernel or ramdisk.
    pub(super) fn content(
        &mut self,
        session: SessionId,
        files: &[NamedBlob],
        key: &str,
        source: &ImageSource,
    ) -> Result<Content<H::Frames>, Failure> {
        match source {
            ImageSource::Boot(name) => {
                let file = self.hypervisor.bundle_file(name).map(Content::Bundle);
                file.ok_or_else(|| {
                    let sentence = format!("the boot bundle has no file '{name}' for '{key}'");
                    Failure::new(ErrorCode::BAD_IMAGE, sentence)
                        .with_remedy("name a file that 'cargo xtask bundle' put there")
                })
            }
            ImageSource::Store(name) => self.image_content(name, key),
            ImageSource::File(path) => self.uploaded(session, files, key, path),
        }
    }

    fn uploaded(
        &self,
        session: SessionId,
        files: &[NamedBlob],
        key: &str,
        path: &str,
    ) -> Result<Content<H::Frames>, Failure> {
        let no = |sentence: String| {
            Failure::new(ErrorCode::BAD_BLOB, sentence)
                .with_remedy("upload the file in the same session first")
        };
        let Some(named) = files.iter().find(|file| file.key == key) else {
            return Err(no(format!(
                "the content of {key} '{path}' was not sent along"
            )));
        };
        let client = self.clients.get(&session);
        let blob = client.and_then(|client| client.find(&named.blob));
        match blob {
            Some(blob) if blob.length() == named.length => Ok(Content::Blob(Rc::clone(blob))),
            Some(_) => Err(no(format!(
                "the length of {key} '{path}' is not its blob's"
            ))),
            None => Err(no(format!(
                "the session does not hold the blob of {key} '{path}'"
            ))),
        }
    }
}

/// Reads a configuration; everything that is wrong with it in one failure. The text says what the file's name implied.
pub(super) fn read_config(
    origin: &str,
    text: &str,
    policies: &Policies,
) -> Result<(String, DomainConfig, Vec<String>), Failure> {
    if text.len() > MAX_CONFIG {
        let sentence = format!("the configuration has more than {MAX_CONFIG} bytes");
        return Err(Failure::new(ErrorCode::TOO_LARGE, sentence));
    }
    let bad = |sentence: String| Failure::new(ErrorCode::BAD_CONFIG, sentence);
    let file = ConfigFile::parse(origin, text).map_err(|error| bad(format!("{error}")))?;
    match DomainConfig::from_file_with(&file, policies) {
        Ok((config, warnings)) => {
            let warnings = warnings.iter().map(ToString::to_string).collect();
            Ok((file.text().to_string(), config, warnings))
        }
        Err(errors) => {
            let all: Vec<String> = errors.iter().take(16).map(ToString::to_string).collect();
            Err(bad(all.join("\n")))
        }
    }
}
