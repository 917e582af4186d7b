//! Small guests.

use harness::operator::Trouble;

use super::{EIGHT, EPYC, MAX, TWO};
use crate::stage::{SOON, Stage, contains};
use crate::{hostile, lifecycle, sched, smp};

#[test]
fn the_parts_of_memory_add_up() {
    MAX.run(lifecycle::memory_adds_up);
}

#[test]
fn a_guest_that_switches_itself_off_is_gone_and_its_console_is_not() {
    MAX.run(lifecycle::switches_itself_off);
}

#[test]
fn the_same_on_a_cpu_with_less() {
    EPYC.run(lifecycle::switches_itself_off);
}

#[test]
fn a_domain_is_listed_as_it_was_configured() {
    MAX.run(lifecycle::listed_as_configured);
}

#[test]
fn pause_stops_a_guest_and_unpause_lets_it_go_on() {
    MAX.run(lifecycle::paused_and_unpaused);
}

#[test]
fn a_guest_created_paused_does_not_start_before_it_is_told_to() {
    MAX.run(lifecycle::created_paused);
}

#[test]
fn a_saved_guest_ticks_on_from_where_it_was() {
    MAX.run(lifecycle::saved_and_restored);
}

#[test]
fn a_guest_is_saved_and_restored_twenty_times_in_a_row() {
    MAX.run(lifecycle::saved_again_and_again);
}

#[test]
fn a_guest_that_asks_for_it_is_started_again() {
    MAX.run(lifecycle::started_again);
}

#[test]
fn a_crashed_guest_is_kept_for_who_asked_to_look_at_it() {
    MAX.run(lifecycle::crashed_and_kept);
}

#[test]
fn a_guest_that_runs_away_harms_itself_alone() {
    MAX.run(lifecycle::running_away);
}

#[test]
fn twelve_domains_run_side_by_side() {
    MAX.run(lifecycle::twelve);
}

#[test]
fn domains_that_come_and_go_leave_all_memory_free() {
    MAX.run(|stage| lifecycle::come_and_go(stage, 20));
}

#[test]
fn nobody_sees_what_was_in_its_memory_before() {
    MAX.run(hostile::nothing_left_behind);
}

#[test]
fn a_guest_that_never_yields() {
    MAX.run(hostile::never_yielding);
}

#[test]
fn twice_the_weight_is_twice_the_time() {
    MAX.run(sched::by_weight);
}

#[test]
fn a_cap_holds_on_an_idle_cpu_too() {
    MAX.run(sched::capped);
}

#[test]
fn eight_cpus_run() {
    EIGHT.run(smp::eight_cpus);
}

#[test]
fn cpus_of_a_domain_do_as_they_are_told_on_one_cpu() {
    MAX.run(|stage| smp::cpus_do_as_told(stage, &[1, 2, 3], "pvh"));
}

#[test]
fn cpus_of_a_domain_do_as_they_are_told_on_two_cpus() {
    TWO.run(|stage| smp::cpus_do_as_told(stage, &[2, 4, 8], "pvh"));
}

#[test]
fn a_cpu_is_started_and_stopped_by_calls_on_one_cpu() {
    MAX.run(cpus_by_calls);
}

#[test]
fn a_cpu_is_started_and_stopped_by_calls_on_two_cpus() {
    TWO.run(cpus_by_calls);
}

fn cpus_by_calls(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("calls", "cpus_by_calls", "vcpus = 2")?;
    stage.operator.gone("calls", SOON)?;
    contains(&stage.operator.said("calls")?, &["ok cpus_by_calls"]);
    Ok(())
}
