//! What clients ask for, one method per request. A method returns the answer, or none if it comes later.

mod blobs;
mod create;
mod domains;
mod host;
pub(super) mod managed;
mod rename;
mod restores;
pub(super) mod saves;
mod scheduling;
mod statistics;

use super::Xend;
use super::waits::What;
use crate::hypervisor::Hypervisor;
use crate::nodes;
use crate::session::Ticket;
use mgmt_proto::messages::{Failure, Reply, RequestBody, Shutdown};

/// What came of a request, if it is known at once.
type Outcome = Option<Result<Reply, Failure>>;

impl<H: Hypervisor> Xend<H> {
    /// Does what is asked.
    pub(super) fn dispatch(&mut self, ticket: Ticket, body: RequestBody) -> Outcome {
        match body {
            RequestBody::Info => Some(self.info()),
            RequestBody::List => Some(Ok(self.list())),
            RequestBody::Show(domain) => Some(self.show(&domain)),
            RequestBody::Dmesg(follow) => {
                let what = What::Dmesg(follow.cursor.unwrap_or(0));
                self.follow(ticket, what, follow.wait_ms)
            }
            RequestBody::Log(follow) => self.follow_log(ticket, follow),
            RequestBody::Events(follow) => {
                let what = What::Events(follow.cursor.unwrap_or(0));
                self.follow(ticket, what, follow.wait_ms)
            }
            RequestBody::ConfigShow => Some(Ok(self.config_show())),
            RequestBody::HostStop(restart) => Some(Ok(self.host_stop(restart))),
            RequestBody::Stats => Some(self.stats()),
            RequestBody::Usage(domain) => Some(self.usage(&domain)),
            RequestBody::ConfigSet(text) => self.config_set(ticket, text),
            RequestBody::ConfigCheck(text) => Some(Ok(self.config_check(&text))),
            RequestBody::HostInit(force) => self.host_init(ticket, force),
            RequestBody::Create(create) => self.create(ticket, create),
            RequestBody::Pause(domain) => Some(self.pause(&domain)),
            RequestBody::Unpause(domain) => Some(self.unpause(&domain)),
            RequestBody::Shutdown(Shutdown { domain, wait_ms }) => {
                self.shutdown(ticket, &domain, wait_ms, "poweroff")
            }
            RequestBody::Reboot(Shutdown { domain, wait_ms }) => {
                self.shutdown(ticket, &domain, wait_ms, nodes::REBOOT)
            }
            RequestBody::Destroy(domain) => self.destroy(ticket, &domain),
            RequestBody::Rename(rename) => self.give_name(ticket, &rename),
            RequestBody::SchedulingList => Some(self.scheduling_list()),
            RequestBody::SchedulingSet(set) => Some(self.scheduling_set(&set)),
            RequestBody::VcpuList => Some(self.vcpu_list()),
            RequestBody::VcpuPin(pin) => Some(self.vcpu_pin(&pin)),
            RequestBody::New(define) => self.define(ticket, define),
            RequestBody::Start(start) => self.start_defined(ticket, start),
            RequestBody::Delete(name) => self.delete_definition(ticket, &name),
            RequestBody::DefinitionShow(name) => Some(self.definition_show(&name)),
            RequestBody::DefinitionSet(redefine) => self.definition_set(ticket, redefine),
            RequestBody::ConsoleRead(read) => self.console_read(ticket, &read),
            RequestBody::ConsoleWrite(write) => Some(self.console_write(&write)),
            RequestBody::BlobOpen(open) => self.blob_open(ticket, open),
            RequestBody::BlobPut(put) => Some(self.blob_put(ticket.session, &put)),
            RequestBody::BlobCommit(upload) => Some(self.blob_commit(ticket.session, upload)),
            RequestBody::BlobAbort(upload) => Some(self.blob_abort(ticket.session, upload)),
            RequestBody::BlobRelease(id) => Some(self.blob_release(ticket.session, &id)),
            RequestBody::BlobRead(read) => self.blob_read(ticket, read),
            RequestBody::BlobList => Some(Ok(Reply::Blobs(self.blobs.list()))),
            RequestBody::SaveBegin(domain) => self.save_begin(ticket, &domain),
            RequestBody::SaveManifest(wish) => Some(self.save_manifest(ticket.session, &wish)),
            RequestBody::SaveRead(wish) => self.save_read(ticket, &wish),
            RequestBody::SaveCommit(commit) => self.save_commit(ticket, &commit),
            RequestBody::SaveAbort(save) => Some(self.save_abort(ticket.session, save)),
            RequestBody::SaveToStore(save) => self.save_to_store(ticket, save),
            RequestBody::RestoreBegin(begin) => Some(self.restore_begin(ticket.session, begin)),
            RequestBody::RestoreManifest(piece) => self.restore_manifest(ticket, &piece),
            RequestBody::RestorePut(put) => Some(self.restore_put(ticket.session, &put)),
            RequestBody::RestoreCommit(commit) => self.restore_commit(ticket, &commit),
            RequestBody::RestoreAbort(number) => Some(self.restore_abort(ticket.session, number)),
            RequestBody::RestoreFromStore(restore) => self.restore_from_store(ticket, restore),
            RequestBody::SnapshotList => Some(Ok(self.snapshot_list())),
            RequestBody::SnapshotDelete(label) => self.snapshot_delete(ticket, label),
            RequestBody::ImageAdd(add) => self.image_add(ticket, add),
            RequestBody::ImageList => Some(Ok(self.image_list())),
            RequestBody::ImageShow(name) => Some(self.image_show(name)),
            RequestBody::ImageRemove(name) => self.image_remove(ticket, name),
        }
    }
}
