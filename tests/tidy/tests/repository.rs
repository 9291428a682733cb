//! Each rule on the project itself.

use tidy::rules::{
    assertions, blobs, columns, conversions, dependencies, edges, fuzzing, limits, markdown, names,
    owners, parameters, purity, sizes, unsafe_code, waits, words,
};
use tidy::{Finding, Tree, known, workspace};

fn tree() -> Tree {
    Tree::of_this_repository().expect("the repository can be read")
}

fn assert_none(findings: Vec<Finding>) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn git_holds_no_blobs() {
    assert_none(blobs::no_blobs(&tree()));
}

#[test]
fn lines_fit_into_100_columns() {
    assert_none(columns::lines_fit(&tree()));
}

#[test]
fn every_dependency_has_a_reason() {
    let packages = workspace::packages().unwrap();
    assert_none(dependencies::every_dependency_has_a_reason(&tree(), &packages));
}

#[test]
fn crates_know_only_whom_they_may() {
    assert_none(edges::edges_are_allowed(&workspace::packages().unwrap()));
}

#[test]
fn every_pdu_is_fuzzed() {
    assert_none(fuzzing::every_pdu_is_fuzzed(&tree()));
}

#[test]
fn every_pdu_rejects_its_prefixes() {
    assert_none(fuzzing::every_pdu_rejects_its_prefixes(&tree()));
}

#[test]
fn every_limit_is_used() {
    assert_none(limits::every_limit_is_used(&tree()));
}

#[test]
fn links_resolve() {
    assert_none(markdown::links_resolve(&tree()));
}

#[test]
fn pages_have_one_title() {
    assert_none(markdown::one_title_each(&tree()));
}

#[test]
fn names_say_something() {
    assert_none(names::names_say_something(&tree()));
}

#[test]
fn every_file_is_compiled() {
    assert_none(names::every_file_is_compiled(&tree()));
}

#[test]
fn the_engine_is_pure() {
    assert_none(purity::engine_is_pure(&tree()));
}

#[test]
fn files_fit() {
    assert_none(sizes::files_fit(&tree()));
}

#[test]
fn front_doors_are_short() {
    assert_none(sizes::front_doors_are_short(&tree()));
}

#[test]
fn functions_fit() {
    assert_none(sizes::functions_fit(&tree()));
}

#[test]
fn unsafe_stays_in_uring() {
    assert_none(unsafe_code::unsafe_stays_in_uring(&tree()));
}

#[test]
fn unsafe_is_argued() {
    assert_none(unsafe_code::unsafe_is_argued(&tree()));
}

#[test]
fn nothing_is_left_to_fix() {
    assert_none(words::nothing_is_left_to_fix(&tree()));
}

#[test]
fn no_code_is_unfinished() {
    assert_none(words::no_unfinished_code(&tree()));
}

#[test]
fn what_waits_has_an_owner() {
    assert_none(words::later_has_an_owner(&tree()));
}

/// Findings of a rule that are not on the list of known violations.
fn assert_none_new(rule: &str, findings: impl Fn(&Tree) -> Vec<Finding>) {
    let tree = tree();
    assert_none(known::beyond_known(&tree, rule, findings(&tree)));
}

#[test]
fn known_violations_only_get_fewer() {
    assert_none(known::list_only_shrinks(&tree()));
}

#[test]
fn methods_are_together() {
    assert_none_new("type-files", owners::methods_are_together);
}

#[test]
fn nobody_reaches_through_the_shard() {
    assert_none_new("front-door", owners::nobody_reaches_through_the_shard);
}

#[test]
fn no_parameter_is_a_tuple() {
    assert_none_new("tuple-parameters", parameters::no_tuple_parameters);
}

#[test]
fn conversions_have_a_reason() {
    assert_none_new("conversions", conversions::conversions_have_a_reason);
}

#[test]
fn nobody_sleeps() {
    assert_none_new("sleeps", waits::nobody_sleeps);
}

#[test]
fn the_shard_asserts() {
    assert_none_new("assertions", assertions::the_shard_asserts);
}

#[test]
fn the_shard_is_not_silent() {
    assert_none_new("silent-returns", assertions::the_shard_is_not_silent);
}
