"""Every promise of SECURITY.md is tested: this table says where, and two of them are tested here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import modules

ROOT = Path(__file__).parents[1]
# by line of the policy: tests, as file under tests/ and function
TESTS: dict[str, tuple[str, ...]] = {
    "bundle-read-only": (
        "bundle/test_bundle.py::test_a_commit_that_was_interrupted_is_read_without_writing_and_finished_by_the_next_change",
        "bundle/test_change.py::test_a_bundle_that_cannot_be_written_opens",
    ),
    "bundle-links": (
        "test_links.py::test_a_link_anywhere_in_a_bundle_is_refused_and_leads_nowhere",
        "test_links.py::test_every_command_reports_a_link_in_one_line",
    ),
    "bundle-paths": (
        "test_links.py::test_a_path_that_a_manifest_may_not_list",
        "bundle/test_bundle.py::test_an_artifact_outside_the_bundle_is_refused",
    ),
    "bundle-commit": (
        "bundle/test_change.py::test_a_commit_not_written_by_vegrt_is_ignored_and_never_finished",
        "bundle/test_bundle.py::test_a_hostile_commit_cannot_delete_what_lies_outside",
    ),
    "bundle-hashes": (
        "bundle/test_bundle.py::test_one_changed_byte_is_found",
        "infer/runtimes/test_fingerprint.py::test_a_damaged_plan_is_not_opened",
        "evaluate/test_verify.py::test_a_golden_photo_is_a_file_that_the_manifest_lists",
    ),
    "bundle-onnx": (
        "bundle/test_external_data.py::test_external_data_is_found_wherever_it_is_named",
        "bundle/test_external_data.py::test_a_bundle_with_external_data_does_not_load",
        "export/imported/test_external_data.py::test_a_bundle_whose_source_names_other_files_is_refused",
    ),
    "bundle-mnn": ("bundle/test_external_data.py::test_a_file_that_mnn_would_take_weights_from_is_refused",),
    "bundle-results": (
        "test_schema.py::test_what_is_no_plain_json_is_refused",
        "test_schema.py::test_only_regular_files_of_a_reasonable_size_are_read",
        "results/test_predictions.py::test_a_reference_leads_to_no_other_folder",
        "results/test_predictions.py::test_a_forged_file_is_refused",
        "report/html/test_page.py::test_gallery_reads_nothing_outside_the_split",
    ),
    "bundle-trust": (
        "infer/trust/test_reject.py::test_a_damaged_file_is_refused",
        "infer/trust/test_reject.py::test_what_was_learned_of_another_model_is_not_used",
    ),
    "bundle-unpack": (
        "bundle/test_pack.py::test_only_plain_files_are_unpacked",
        "bundle/test_pack.py::test_no_name_leads_out_of_the_folder",
        "bundle/test_pack.py::test_a_bomb_is_refused_before_it_fills_the_disk",
        "bundle/test_pack.py::test_a_zip_that_holds_more_than_it_declares_is_refused",
    ),
    "no-pickle": (
        "test_security.py::test_nothing_is_unpickled_or_evaluated",
        "train/loop/test_weights.py::test_never_executes_a_file",
        "evaluate/device/test_answers.py::test_hostile_files_are_refused_in_one_line",
    ),
    "photo-formats": (
        "photo/test_formats.py::test_what_else_pillow_knows_is_not_opened",
        "photo/test_formats.py::test_every_format_is_known_by_its_bytes_whatever_the_name_says",
        "photo/test_formats.py::test_postscript_starts_no_other_program",
        "test_security.py::test_photos_are_opened_in_one_place",
    ),
    "photo-limits": (
        "photo/test_preprocess.py::test_missing_files_folders_and_bombs_are_data_errors",
        "photo/test_preprocess.py::test_a_line_that_resizing_would_blow_up_is_refused",
        "photo/test_preprocess.py::test_whatever_a_decoder_raises_costs_one_photo",
        "photo/test_plain_jpeg.py::test_a_limit_of_pixels_holds_for_plain_photos",
    ),
    "photo-pipes": (
        "infer/test_predict.py::test_odd_files_with_names_of_images_cost_one_line_each",
        "photo/test_plain_jpeg.py::test_files_are_read_whole_and_only_jpegs",
        "dataset/test_photos.py::test_skipped_files_are_counted_and_reported_once",
    ),
    "archive-members": (
        "infer/sources/test_archive.py::test_tar_members_come_from_memory_and_links_are_refused",
        "infer/sources/test_archive.py::test_zip_members_links_passwords_and_a_macs_notes",
        "infer/sources/test_archive.py::test_huge_members_cost_their_own_line",
    ),
    "sorted-photos": (
        "infer/outputs/test_photos.py::test_class_names_do_not_leave_the_folder",
        "infer/outputs/test_photos.py::test_no_file_of_the_user_is_overwritten",
    ),
    "class-names": (
        "dataset/test_classes.py::test_an_unsafe_name_is_refused_and_shown_escaped",
        "dataset/test_classes.py::test_an_old_bundle_with_such_a_name_is_refused_in_one_line",
    ),
    "onnx-external": ("export/imported/test_external_data.py::test_data_is_only_read_from_the_folder_of_the_model",),
    "onnx-odd": (
        "infer/runtimes/test_odd_models.py::test_an_odd_model_costs_one_line",
        "export/imported/test_onnx_file.py::test_a_model_that_is_no_image_classifier_is_refused_in_one_line",
    ),
    "answers-files": (
        "evaluate/device/test_answers.py::test_hostile_files_are_refused_in_one_line",
        "evaluate/device/test_answers.py::test_a_device_steers_nothing",
    ),
    "terminal": (
        "terminal/test_streams.py::test_no_name_commands_the_terminal",
        "terminal/test_streams.py::test_no_name_in_a_table_commands_the_terminal",
        "terminal/test_streams.py::test_what_is_printable_holds_no_control_character_and_json_is_exact",
    ),
    "csv": (
        "infer/outputs/test_rows.py::test_no_cell_of_a_csv_is_a_formula_and_every_path_is_still_the_files",
        "files/test_csv_cells.py::test_a_text_comes_back_from_its_cell_and_is_no_formula",
        "files/test_csv_cells.py::test_a_listing_of_classes_that_look_like_formulas_is_read_as_it_was_written",
        "train/data/test_split.py::test_the_manifest_names_every_readable_photo_once",
    ),
    "report": (
        "report/html/test_page.py::test_names_cannot_become_markup",
        "report/html/test_page.py::test_policy_forbids_the_network_and_allows_our_scripts_only",
        "report/test_write.py::test_names_cannot_become_markdown",
        "commands/options/test_recorded.py::test_a_recorded_command_cannot_inject_another_command",
    ),
    "server": (
        "infer/serve/test_app.py::test_a_body_is_cut_off_at_its_limit_whatever_it_claims",
        "infer/serve/test_slow_clients.py::test_a_header_has_a_deadline_however_it_comes",
        "infer/serve/test_slow_clients.py::test_a_client_fills_its_share_of_the_connections_only",
        "infer/serve/test_slow_clients.py::test_a_client_fills_its_share_of_the_queue_only",
        "infer/serve/test_http.py::test_every_request_gets_its_own_answer_and_no_other",
        "infer/serve/test_origins.py::test_pages_of_other_sites_are_refused_in_one_line",
        "infer/serve/test_app.py::test_nothing_is_loaded_from_elsewhere",
        "test_security.py::test_the_server_touches_no_file_for_a_request",
    ),
    "signature-scope": (
        "bundle/test_signature.py::test_a_signature_fits_one_key_and_one_manifest",
        "bundle/test_signature.py::test_a_changed_file_is_found_although_the_signature_is_valid",
        "bundle/test_signature.py::test_the_list_of_results_is_what_was_signed",
    ),
    "signature-enforced": (
        "bundle/test_signature.py::test_infer_serve_load_report_and_verify_check_the_signature_first",
    ),
    "signature-results": ("bundle/test_signature.py::test_a_result_that_the_signature_does_not_cover_steers_nothing",),
    "engine-code": (
        "infer/runtimes/tensorrt/test_runner.py::test_code_in_a_plan_runs_only_where_that_is_allowed",
        "infer/runtimes/test_fingerprint.py::test_a_damaged_plan_is_not_opened",
    ),
}
UNPICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "jsonpickle"}


def promises() -> list[str]:
    """Return the names of the lines in the policy's tables."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## What is not promised")[0]
    return re.findall(r"^\| ([a-z-]+) \| [A-Z`]", text, re.MULTILINE)


def test_every_promise_has_its_tests() -> None:
    assert promises() == list(TESTS)


@pytest.mark.parametrize("name", sorted({name for names in TESTS.values() for name in names}))
def test_the_named_test_exists(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def calls(file: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call in a file: the name before the last dot, the name called, and the call."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            owner, _, called = ast.unparse(node.func).rpartition(".")
            yield owner, called, node


def test_nothing_is_unpickled_or_evaluated() -> None:
    for name, file in modules().items():
        for owner, called, node in calls(file):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert not (owner in UNPICKLERS and called in {"load", "loads", "Unpickler", "open", "unsafe_load"}), name
            assert not (not owner and called in {"eval", "exec", "compile"}), name
            assert options.get("allow_pickle", "False") == "False", name
            if (owner, called) == ("torch", "load"):
                assert options.get("weights_only") == "True", name
            assert options.get("trust_remote_code") is None, name


def test_photos_are_opened_in_one_place() -> None:
    """Pillow opens every format that it knows, unless it is told which."""
    opening = {name for name, file in modules().items() if "Image.open" in file.read_text(encoding="utf-8")}
    encoded_here = {"vegrt.evaluate.corruptions"}  # it opens the JPEG that it has just made
    assert opening - encoded_here == {"vegrt.photo.formats"}


def test_the_server_touches_no_file_for_a_request() -> None:
    """Its own page comes from the package; everything else is in memory."""
    writers = {
        "open",
        "write_text",
        "write_bytes",
        "read_text",
        "read_bytes",
        "unlink",
        "mkdir",
        "FileResponse",
        "StaticFiles",
    }
    serving = {name: file for name, file in modules().items() if name.startswith("vegrt.infer.serve.")}
    touching = {name for name, file in serving.items() for _, called, _ in calls(file) if called in writers}
    assert touching <= {"vegrt.infer.serve.page"}
