import copy
import itertools
import re
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from governance.reports import html
from governance.reports.chart import MAX_LISTED, MAX_ROWS, points
from governance.reports.document import LIMITS
from governance.reports.html import render
from governance.states import Action, Basis, State
from governance.unlearning.assessment import assess
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.evaluation import Predictions, Samples, forget_share, summarise
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector
from governance.unlearning.recipe import Method
from governance.unlearning.targets import Target, covered
from governance.unlearning.verdict import verdict
from governance.unlearning.words import percent

VOID = {"br", "circle", "hr", "line", "link", "meta", "path", "rect"}
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>"


class Page(HTMLParser):
    """The parsed page: its elements, its text, and whether every element was closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        assert len(named) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, named))
        if tag in ("dd", "p", "td", "th"):
            self.words.append(" ")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.words.append(data)
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += f" {data}"

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def table_rows(self) -> list[str]:
        return [" | ".join(" ".join(cell.split()) for cell in row) for row in self.rows]

    def all(self, *tags: str) -> list[tuple[str, dict[str, str]]]:
        return [element for element in self.elements if element[0] in tags]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def measure(
    targets: Iterable[Target],
    edited: bool,
    classes: tuple[str, ...] = ("cat", "dog", "horse"),
    domains: tuple[str | None, ...] = ("photo", "sketch"),
) -> dict[str, Any]:
    """What `governance.unlearning.evaluation` reports for 8 images of each pair; of each 7 are recognised."""
    samples, correct = labelled(targets, edited, classes, domains)
    by_domain = None if None in domains else correct & (torch.arange(len(correct)) % 4 != 1)
    return summarise(samples, Predictions(correct, by_domain), list(targets))


def labelled(
    targets: Iterable[Target],
    edited: bool,
    classes: tuple[str, ...] = ("cat", "dog", "horse"),
    domains: tuple[str | None, ...] = ("photo", "sketch"),
) -> tuple[Samples, torch.Tensor]:
    pairs = [(c, d) for c in classes for d in domains for _ in range(8)]
    samples = Samples(torch.zeros(len(pairs), 1), [c for c, _ in pairs], [d for _, d in pairs])
    hits = [
        not (edited and covered(targets, c, d))
        and index % 8 != 0
        # The edit costs one image of cats in sketches.
        and not (edited and (c, d) == ("cat", "sketch") and index % 8 == 1)
        for index, (c, d) in enumerate(pairs)
    ]
    return samples, torch.tensor(hits)


def assessed(targets: Iterable[Target]) -> dict[str, Any]:
    """A real assessment of 8 images of each pair, each class on an axis of its own; the edit removes the dog's."""
    classes, domains = ("cat", "dog", "horse", "house"), ("photo", "sketch")
    labels = LabelSpace(classes, domains, domain_templates=dict.fromkeys(domains, ("{class}",)))
    rows = torch.cat([torch.eye(4)] * 3, dim=0).double()
    rows = torch.cat([rows, torch.eye(3).repeat_interleave(4, dim=0)], dim=1)
    owners = [classes.index(label) for label, _ in labels.paraphrases]
    bank = PromptBank(labels, unit(rows), unit(rows), unit(rows[owners]))
    samples, _ = labelled(targets, False)
    place = {pair: row for row, pair in enumerate(bank.pairs)}
    own = [place[pair] for pair in zip(samples.labels, samples.domains, strict=True)]
    noise = 0.2 * torch.randn(len(own), 7, generator=torch.Generator().manual_seed(0))
    features = bank.rows[own].float() + noise
    axis = torch.eye(7, dtype=torch.float64)[1:2]
    edit = Projector(-axis.T, axis, 1.0)
    images = Samples(features, samples.labels, samples.domains)
    return assess(images, bank, list(targets), edit, 20.0)


def request_record(number: int, targets: Iterable[Target], **changes: Any) -> dict[str, Any]:
    targets = list(targets)
    return {
        "id": number,
        "model": "shop",
        "state": "approved",
        "targets": [target.to_dict() for target in targets],
        "scope": "; ".join(target.describe() for target in targets),
        "basis": "gdpr-17-1-d",
        "reason": "scraped without consent",
        "subject_ref": "case 4711",
        "erased": [],
        "attachments": [],
        "retention": "standard",
        "keep_until": None,
        "held": False,
        "redacted": False,
        "approvals": {"given": 1, "needed": 1},
        "break_glass": False,
        "overrides": [],
        "filed_by": "anna",
        "filed_at": "2025-03-03T08:30:00+00:00",
        "due_at": "2025-04-02T08:30:00+00:00",
        "overdue": False,
        "projector": {
            "digest": digest("a"),
            "rank": 5,
            "condition": 48213.7,
            "tolerance": 0.1,
            "recipe": {
                "hyperparameters": {
                    "method": "redirect",
                    "strength": 1.0,
                    "lambda_forget": 1000.0,
                    "lambda_retain": 10.0,
                    "mu": 0.1,
                },
                "prototypes": [{"kind": "text"}],
            },
            "sides": ["image"],
            "prepared_by": "mira",
            "prepared_at": "2025-03-04T10:12:33+00:00",
            "run_id": "run",
        },
        "decisions": [
            {
                "ruling": "approval",
                "actor": "dpo",
                "comment": "go ahead",
                "comment_erased": False,
                "break_glass": False,
                "projector_digest": digest("a"),
                "report_digest": digest("b"),
                "decided_at": "2025-03-05T14:00:00+00:00",
            }
        ],
    } | changes


def event(seq: int, action: str, subject: str, **payload: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "at": f"2025-03-0{seq}T10:00:00.123456+00:00",
        "actor": "anna",
        "action": action,
        "subject": subject,
        "payload": payload,
        "prev_digest": digest("e"),
        "digest": digest(str(seq)),
    }


def document(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "kind": kind,
        "title": "Request 3",
        "model": {
            "name": "shop",
            "source": {"name": "ViT-B-32"},
            "weights_digest": digest("c"),
            "config_digest": digest("d"),
            "dimension": 512,
            "fold_path": "visual.proj",
            "logit_scale": 100.0,
            "labels_digest": digest("f"),
            "registered_at": "2025-03-01T08:00:00+00:00",
            "classes": ["cat", "dog", "horse", "house"],
            "domains": ["photo", "sketch"],
        },
        "requests": [],
        "version": None,
        "reports": [],
        "gates": [],
        "policy_digest": digest("9"),
        "history": [],
        "limits": list(LIMITS),
        "made_at": "2025-03-12T16:45:10+00:00",
        "nonce": "0123456789abcdef" * 2,
        "ledger_head": {"seq": 57, "digest": digest("9")},
    } | changes


DOG = (Target("dog", None),)
DATASET = {"name": "eval", "digest": digest("7"), "images": 48, "skipped": ["photo/dog/torn.jpg"]}


CONFUSION = {
    "n": 16,
    "before": [
        {"class": "dog", "n": 14, "share": 0.875, "correct": 14},
        {"class": "house", "n": 2, "share": 0.125, "correct": 0},
    ],
    "after": [
        {"class": "horse", "n": 9, "share": 0.5625, "correct": 2},
        {"class": "cat", "n": 4, "share": 0.25, "correct": 0},
        {"class": None, "classes": 2, "n": 3, "share": 0.1875, "correct": 0},
    ],
}


def request_document(targets: tuple[Target, ...] = DOG, **shape: Any) -> dict[str, Any]:
    assessment = assessed(targets)
    report = {
        "kind": "request",
        "request": 3,
        "model": "shop",
        "targets": [target.to_dict() for target in targets],
        "strength": 1.0,
        "projector_digest": digest("a"),
        "dataset": DATASET,
        "before": measure(targets, False, **shape),
        "after": measure(targets, True, **shape),
        "confusion": CONFUSION,
        "composed": None,
        "assessment": assessment,
        "verdict": verdict(assessment, targets, 1.0),
        "capacity": {
            "rank": 5,
            "dimension": 512,
            "condition": 48213.7,
            "lost_rows": 1,
            "retained_rows": 34,
            "drift": 0.02,
        },
        "residual": 0.00213,
        "digest": digest("b"),
        "created_at": "2025-03-04T10:12:33+00:00",
    }
    history = [
        event(1, "request.filed", "request:3"),
        event(2, "request.prepared", "request:3", method="redirect"),
        event(3, "request.approved", "request:3") | {"texts": ["go ahead"]},
    ]
    return document(
        "request", requests=[request_record(3, targets)], reports=[report], history=history
    )


def version_document(active: bool = True) -> dict[str, Any]:
    targets = DOG if active else ()
    horse = (Target("horse", "sketch"),)

    def entry(number: int, mine: tuple[Target, ...], held: bool) -> dict[str, Any]:
        shares = []
        for edited in (False, True):
            samples, correct = labelled(targets, edited)
            shares.append(forget_share(samples, Predictions(correct, None), mine))
        return {
            "request": number,
            "targets": [target.to_dict() for target in mine],
            "strength": 1.0,
            "active": held,
            "before": shares[0].value,
            "after": shares[1].value,
            "counts": {"before": shares[0].to_dict(), "after": shares[1].to_dict()},
            "confusion": CONFUSION,
        }

    held = [3] if active else []
    report = {
        "kind": "version",
        "model": "shop",
        "version": 4,
        "dataset": DATASET,
        "active_requests": held,
        "requests": [*([entry(3, DOG, True)] if active else []), entry(2, horse, False)],
        "before": measure(targets, False),
        "after": measure(targets, True),
        "overall": {"harmonic": 0.961, "aus": 1.032, "rus": 0.219} if targets else None,
        "capacity": {
            "rank": 7,
            "dimension": 512,
            "condition": 5e9,
            "lost_rows": 1,
            "retained_rows": 34,
            "drift": 0.02,
        },
        "digest": digest("6"),
        "created_at": "2025-03-10T10:12:33+00:00",
    }
    version = {
        "model": "shop",
        "version": 4,
        "parent": 3,
        "active_requests": held,
        "sides": ["image"] if held else [],
        "residuals": [{"request": number, "residual": 0.0317, "tolerance": 0.1} for number in held],
        "aliases": ["candidate"],
        "served": False,
        "overrides": [],
        "digest": digest("5"),
        "weights_digest": digest("4"),
        "created_by": "mira",
        "created_at": "2025-03-10T10:00:00+00:00",
        "run_id": "run",
        "registry_version": "4",
    }
    registered = event(
        6,
        "version.registered",
        "version:shop/4",
        version_digest=digest("5"),
        active_requests=held,
    )
    return document(
        "version",
        title="shop, version 4",
        requests=[request_record(3, DOG, state="applied")] if active else [],
        version=version,
        reports=[report],
        history=[registered],
    )


def base_document() -> dict[str, Any]:
    """The unedited model: nothing asked, nothing measured."""
    value = version_document(active=False)
    value["version"] |= {"version": 1, "parent": None, "aliases": ["champion"], "served": True}
    return value | {"reports": [], "history": [], "ledger_head": None}


DOCUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "request": request_document,
    "version": version_document,
    "version-empty": lambda: version_document(active=False),
    "base": base_document,
    "pair": lambda: request_document((Target("dog", "sketch"),)),
    "domain": lambda: request_document((Target(None, "sketch"),)),
    "no-domains": lambda: request_document(domains=(None,)),
    "many": lambda: request_document(
        (Target(None, "sketch"),), classes=tuple(f"class {n}" for n in range(60))
    ),
}


@pytest.fixture(params=DOCUMENTS)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(render(DOCUMENTS[request.param]()))


def test_the_page_is_well_formed_and_named_in_english(page: Page) -> None:
    assert page.elements[0] == ("html", {"lang": "en"})
    assert page.values("id") == sorted(set(page.values("id")), key=page.values("id").index)
    for value in page.values("aria-labelledby"):
        assert set(value.split()) <= set(page.values("id"))


def test_nothing_is_loaded_from_outside_and_nothing_runs(page: Page) -> None:
    assert page.all("script", "link", "img", "iframe", "object", "embed", "base", "form") == []
    for attribute in ("src", "href", "srcset", "action", "data", "poster", "style", "xlink:href"):
        assert page.values(attribute) == []
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]


def test_no_style_or_text_names_an_address() -> None:
    for make in DOCUMENTS.values():
        source = render(make())
        assert not re.search(r"url\s*\(|@import|https?:|//", source)


def test_headings_descend_one_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_and_charts_are_labelled(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(cell.get("scope") in ("row", "col", "rowgroup") for _, cell in page.all("th"))
    for _, drawing in page.all("svg"):
        assert drawing.get("role") == "img" or "aria-hidden" in drawing or "overflow" in drawing
    pictures = [drawing for _, drawing in page.all("svg") if drawing.get("role") == "img"]
    assert all(len(drawing["aria-labelledby"].split()) == 2 for drawing in pictures)


def test_parts_stand_in_the_order_people_need_them() -> None:
    text = render(version_document())
    parts = [
        "Summary",
        "What was asked",
        "Who prepared it and who decided",
        "What was measured",
        "What the edit is",
        "Requests in this version",
        "What this edit does not do",
        "Record",
    ]
    places = [text.index(f"<h2>{part}</h2>") for part in parts]
    assert places == sorted(places)


def test_summary_says_what_the_counts_say() -> None:
    text = Page(render(request_document())).text
    assert (
        "Of 16 images of “dog”, the model recognised 14 (87.5%) before and 0 (0.0%) after" in text
    )
    assert "95% interval after: 0.0% to 19.4%" in text
    assert "On the other 32 images it was right in 87.5% before and 84.4% after" in text
    assert "“cat” lost most: 87.5% before, 81.2% after, of 16 images." in text
    assert "guessing among" not in text


def test_summary_admits_what_is_still_recognised() -> None:
    value = request_document()
    report = value["reports"][0]
    report["after"], report["strength"] = report["before"], 0.25
    text = Page(render(value)).text
    assert "That is more than guessing among 4 names would give (25.0%)." in text
    assert "strength 0.25 of 1: it is meant to leave some recognition" in text
    assert "None of the classes that were to be kept whole lost accuracy" in text


def test_summary_names_the_collateral_of_a_partial_class() -> None:
    text = Page(render(request_document((Target(None, "photo"), Target("dog", None))))).text
    assert "Of 32 images in the domain “photo” and images of “dog”, the model recognised 28" in text
    assert "Of the classes that were to be kept whole" not in text
    assert "“cat” in the domain “sketch” lost most: 87.5% before, 75.0% after." in text


def test_figures_of_every_class_domain_and_pair_are_in_the_page() -> None:
    value = request_document()
    rows = Page(render(value)).table_rows
    before, after = value["reports"][0]["before"], value["reports"][0]["after"]
    for place in ("per_class", "per_domain"):
        for name, counts in before["counts"][place].items():
            now = after["counts"][place][name]
            expected = (
                f"| {percent(before[place][name])} {counts['correct']} of {counts['n']} "
                f"| {percent(after[place][name])} {now['correct']} of {now['n']}; "
                f"{percent(now['low'])} to {percent(now['high'])} | "
                f"{points(before[place][name], after[place][name])}"
            )
            assert [row for row in rows if row.startswith(name) and row.endswith(expected)]
    for label, places in after["per_pair"].items():
        cells = " | ".join(
            f"{percent(share)} {'to forget ' if label == 'dog' else ''}"
            f"was {percent(before['per_pair'][label][domain])}"
            for domain, share in places.items()
        )
        assert f"{label} | {cells}" in rows


def test_marks_of_the_chart_stand_where_the_figures_are() -> None:
    page = Page(render(request_document()))
    marks = [
        attributes["cx"]
        for tag, attributes in page.elements
        if tag == "circle" and attributes["cx"].endswith("%")
    ]
    # by class: dog before; cat and horse before and after; by domain: photo and sketch before
    assert marks == ["87.50%", "87.50%", "81.25%", "87.50%", "87.50%", "87.50%", "87.50%"]
    diamonds = [a["x"] for tag, a in page.elements if tag == "svg" and "overflow" in a]
    assert diamonds == ["0.00%", "58.33%", "54.17%"]


def test_domain_prompts_are_shown_and_left_out_where_there_are_none() -> None:
    value = request_document()
    forget = value["reports"][0]["before"]["domain_prompts"]["counts"]["forget"]
    page = Page(render(value))
    assert "chooses among all 8 pairs of class and domain" in page.text
    share = f"{percent(forget['correct'] / forget['n'])} {forget['correct']} of {forget['n']}"
    assert any(row.startswith("To be forgotten") and share in row for row in page.table_rows)
    plain = Page(render(request_document(domains=(None,)))).text
    assert "pairs of class and domain" not in plain
    assert "By domain" not in plain
    assert "By class and domain" not in plain


def test_a_large_label_space_shows_what_matters_and_counts_the_rest() -> None:
    page = Page(render(DOCUMENTS["many"]()))
    assert "the most changed ones, 40 more stand in the JSON form of this report" in page.text
    assert sum(row.startswith("class ") for row in page.table_rows) == 2 * MAX_ROWS
    assert "partly to be forgotten" in page.text


def test_the_case_is_told_with_its_people_and_dates() -> None:
    text = Page(render(request_document())).text
    for words in (
        "GDPR Art. 17(1)(d): unlawfully processed",
        "scraped without consent",
        "case 4711",
        "Filed by anna on 3 March 2025, 08:30 UTC",
        "Due 2 April 2025, 08:30 UTC",
        "Prepared by mira on 4 March 2025, 10:12 UTC",
        "Approved by dpo on 5 March 2025, 14:00 UTC",
        "Comment go ahead",
        "the measurement that is shown below",
        "who approved it neither filed nor prepared it",
        "1 unreadable file was left out: photo/dog/torn.jpg",
        "Rank 5 of 512 dimensions",
        "Condition number 48,210",
        "Residual 0.00213",
        "The log had 57 entries when this report was made",
        digest("9"),
        *LIMITS,
    ):
        assert words in text


def test_the_verdict_stands_in_the_summary_of_a_request() -> None:
    value = request_document()
    text = Page(render(value)).text
    assert f"Verdict. {value['reports'][0]['verdict']}" in text
    assert text.index("Verdict.") < text.index("What was asked")
    assert "Verdict." not in Page(render(version_document())).text


def test_what_still_leaks_has_a_section_with_all_three_views() -> None:
    value = request_document()
    source = render(value)
    order = [source.index(f"<h2>{part}</h2>") for part in ("What was measured", "What still leaks")]
    assert order == sorted(order)
    page = Page(source)
    shown = value["reports"][0]["assessment"]
    for key in ("harmonic", "aus", "rus"):
        cells = " | ".join(f"{shown[view][key]:.3f}" for view in ("before", "after", "control"))
        assert any(row.endswith(cells) for row in page.table_rows)
    assert "Not evaluated: U-LiRA, which needs shadow models" in page.text
    assert "What still leaks" not in Page(render(version_document())).text


def test_what_took_the_forgotten_images_stands_beside_what_had_them() -> None:
    page = Page(render(request_document()))
    rows = [row for row in page.table_rows if row.startswith(("dog |", "horse |", "all others |"))]
    assert "dog | 87.5% 14 images recognised | among the others" in rows
    assert "horse | 0.0% 0 images | 56.2% 9 images 2 recognised" in rows
    assert "all others | 0.0% 0 images | 18.8% 3 images, 2 classes" in rows
    assert "What the 16 images to be forgotten are taken for" in page.text


def test_each_request_of_a_version_has_its_own_table_up_to_a_limit() -> None:
    value = version_document()
    page = Page(render(value))
    for number in (3, 2):
        assert f"What the 16 images of request {number} are taken for" in page.text
    entries = value["reports"][0]["requests"]
    entries += [copy.deepcopy(entries[0]) | {"request": 100 + n} for n in range(MAX_LISTED)]
    text = Page(render(value)).text
    assert text.count("are taken for: classes by") == MAX_LISTED
    assert "Those of 2 more requests stand in the JSON form of this report." in text


@pytest.mark.parametrize("kind", ["request", "version"])
def test_a_report_from_before_confusion_was_measured_is_still_shown(kind: str) -> None:
    value = request_document() if kind == "request" else version_document()
    (report,) = value["reports"]
    for part in (report, *report.get("requests", ())):
        part.pop("confusion", None)
    if kind == "request":
        protocol = report["assessment"]["protocol"]
        del protocol["scaled"], protocol["gallery_size"]
        for view in ("before", "after", "control"):
            attacks = report["assessment"][view]["relearning"]
            report["assessment"][view]["relearning"] = [
                {key: value for key, value in attack.items() if key != "scaled"}
                for attack in attacks
                if not attack["scaled"]
            ]
    text = Page(render(value)).text
    assert "taken for: classes by" not in text
    assert "strongest of 3 attacks" in text or kind == "version"


def test_a_version_shows_its_overall_figures() -> None:
    assert "H, AUS, RUS 0.961, 1.032, 0.219" in Page(render(version_document())).text
    assert "H, AUS, RUS" not in Page(render(version_document(active=False))).text


def test_times_are_written_as_html_allows(page: Page) -> None:
    times = page.values("datetime")
    assert times
    assert all(re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.[0-9]{3}\+00:00", time) for time in times)


def test_history_lists_every_event_with_its_full_digest() -> None:
    value = request_document()
    page = Page(render(value))
    for entry in value["history"]:
        assert entry["digest"] in page.values("title")
        assert entry["digest"] in page.text
        assert entry["action"] in page.text
    assert any(row.startswith("3 |") and "go ahead" in row for row in page.table_rows)


def test_missing_values_are_said_to_be_missing() -> None:
    value = request_document()
    value["requests"][0] |= {"reason": None, "subject_ref": None, "decisions": []}
    value["reports"][0] |= {"dataset": DATASET | {"skipped": []}}
    del value["reports"][0]["residual"]  # only a preparation knows it
    value |= {"history": [], "ledger_head": None}
    text = Page(render(value)).text
    for words in (
        "Reason not on file",
        "Subject reference none",
        "No decision is recorded.",
        "No file was unreadable.",
        "The log has no entry on this request.",
        "The log was empty when this report was made.",
    ):
        assert words in text
    assert "Residual" not in text
    assert "None" not in text.replace("None of the classes", "")


def test_a_decision_on_an_older_preparation_is_marked_void() -> None:
    value = request_document()
    value["requests"][0]["state"] = "prepared"
    value["requests"][0]["projector"]["prepared_at"] = "2025-03-06T10:00:00+00:00"
    text = Page(render(value)).text
    assert "void The request was prepared again afterwards" in text
    assert "Nobody has decided on it yet" in text
    assert "Four eyes" not in text


def test_broken_four_eyes_are_not_praised() -> None:
    value = request_document()
    value["requests"][0]["decisions"][0]["actor"] = "mira"
    assert "so four eyes were not kept" in Page(render(value)).text


def test_rejection_overdue_release_and_unknown_basis() -> None:
    value = request_document()
    record = value["requests"][0]
    record |= {"basis": "treaty", "overdue": True}
    record["decisions"][0] |= {"ruling": "rejection", "comment": None, "report_digest": None}
    value["history"].append(event(7, "request.released", "request:3", version=2))
    text = Page(render(value)).text
    assert "Basis treaty" in text
    assert "08:30 UTC overdue" in text
    assert "Rejected by dpo" in text
    assert "Binds the report –" in text
    assert "Released 7 March 2025, 10:00 UTC" in text


def test_effect_together_with_active_requests() -> None:
    value = request_document()
    value["reports"][0]["composed"] = {
        "active_requests": [1, 2],
        "forget_accuracy": 0.0625,
        "retain_accuracy": 0.9,
        "capacity": {
            "rank": 9,
            "dimension": 512,
            "condition": 9.0,
            "lost_rows": 1,
            "retained_rows": 34,
            "drift": 0.02,
        },
    }
    text = Page(render(value)).text
    assert "active already (requests 1, 2), it leaves 6.2% of the images to be forgotten" in text
    assert "90.0% of the images that none of these requests covers" in text


def test_version_shows_active_and_reinstated_requests() -> None:
    page = Page(render(version_document()))
    assert "Version 4 of the model “shop” holds the edits of 1 request: request 3" in page.text
    assert "candidate for release, not yet served" in page.text
    assert "Request 3: of 16 images of “dog”, the model recognised 14 (87.5%) before" in page.text
    assert (
        "Request 2 is not held any more; what it covered is meant to be recognisable again"
        in page.text
    )
    assert "Of 8 images of “horse” in the domain “sketch”, the model recognised 7" in page.text
    rows = page.table_rows
    assert any(row.startswith("2 horse in sketch taken back: recognisable again") for row in rows)
    assert any(row.startswith("3 | dog everywhere | GDPR Art. 17(1)(d)") for row in rows)
    assert "Condition number 5.000e+09" in page.text


def test_version_says_what_its_data_set_cannot_show() -> None:
    value = version_document()
    del value["reports"][0]["requests"][0]
    text = Page(render(value)).text
    assert "no image of what request 3 covers, so nothing is known here about that" in text


def test_version_shows_each_residual_in_the_joint_solution() -> None:
    assert "Residual 0.0317" in Page(render(version_document())).text


def test_version_without_requests_claims_nothing() -> None:
    text = Page(render(version_document(active=False))).text
    assert "holds no request, so nothing is edited in it" in text
    assert "On all 48 images it was right in" in text
    assert "Nothing: this version is the base model without any edit." in text
    assert "No request is active in this version." in text
    assert "To be forgotten" not in text


def test_base_version_without_measurement() -> None:
    text = Page(render(base_document())).text
    assert "Version 1 of the model “shop” is the unedited base model. It holds no request." in text
    assert "No measurement of it is recorded." in text
    assert "version to be served" in text


def test_hostile_text_stays_text_everywhere() -> None:
    """Every string of the documents, hostile: no element appears that a harmless document lacks."""
    fixed = {"kind", "at"}

    def poison(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {
                (HOSTILE + k if key in ("per_class", "per_domain", "per_pair") else k): poison(v, k)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [poison(item, key) for item in value]
        if not isinstance(value, str) or key in fixed or key.endswith("_at"):
            return value
        return HOSTILE + value

    for make in (request_document, version_document):
        clean, dirty = make(), poison(copy.deepcopy(make()))
        page = Page(render(dirty))
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in Page(render(clean)).elements}
        assert not [a for _, a in page.elements if any(name[:2] == "on" for name in a)]
        assert HOSTILE + "scraped without consent" in page.text
        assert HOSTILE + "dog" in page.text


def test_characters_that_break_or_reverse_text_are_replaced() -> None:
    value = request_document()
    value["requests"][0]["reason"] = (
        "first\nsecond \u202eesrever\x00\x1b[31m \ud800 naïve 犬 \u200d"
    )
    source = render(value)
    source.encode()
    assert "first\nsecond \ufffdesrever\ufffd\ufffd[31m \ufffd naïve 犬 \u200d" in source


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0%"),
        (1.0, "100.0%"),
        (0.9996, ">99.9%"),
        (0.0004, "<0.1%"),
        (0.5, "50.0%"),
    ],
)
def test_shares_are_never_rounded_to_all_or_nothing(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0.5, 0.25, "−25.0"),
        (0.25, 0.5, "+25.0"),
        (0.5, 0.5, "0.0"),
        (0.5, 0.4999, "0.0"),
        (None, 1, "–"),
    ],
)
def test_changes_carry_their_sign(before: float | None, after: float | None, text: str) -> None:
    assert points(before, after) == text


def test_every_ground_state_method_and_step_has_words() -> None:
    assert set(html.BASES) == set(Basis)
    assert set(html.STATES) == set(State)
    assert set(html.METHODS) == set(Method)
    assert {f"request.{action}" for action in Action} <= set(html.ACTIONS)


def test_every_version_event_of_the_workflow_has_words() -> None:
    workflow = Path(html.__file__).parents[1] / "workflow"
    written = {
        name
        for path in workflow.glob("*.py")
        for name in re.findall(r'"(version\.[a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    permissions = {
        "version.apply",
        "version.evaluate",
        "version.promote",
        "version.rollback",
        "version.override",
        "version.export",
    }
    assert written - permissions <= set(html.ACTIONS)


def test_break_glass_stands_at_the_top_and_at_the_decision() -> None:
    for make in (request_document, version_document):
        value = make()
        assert "Break glass" not in render(value)
        value["requests"][0]["break_glass"] = True
        value["requests"][0]["decisions"][0]["break_glass"] = True
        source = render(value)
        page = Page(source)
        assert "Request 3 was approved by an admin in an emergency" in page.text
        assert source.index('role="alert"') < source.index("<h2>Summary</h2>")
        assert "Break glass: this approval was given in an emergency" in page.text
        assert "Four eyes: who approved" not in page.text


def test_a_void_break_glass_does_not_alarm_the_whole_page() -> None:
    value = request_document()
    decision = value["requests"][0]["decisions"][0]
    decision |= {"break_glass": True, "decided_at": "2025-03-01T00:00:00+00:00"}
    page = Page(render(value))
    assert page.values("role").count("alert") == 0
    assert "Break glass: this approval" in page.text


def test_the_quorum_is_shown() -> None:
    value = request_document()
    value["requests"][0]["approvals"] = {"given": 1, "needed": 2}
    assert "Quorum 1 of 2 approvals needed" in Page(render(value)).text


def test_what_was_erased_is_called_erased() -> None:
    value = request_document()
    record = value["requests"][0]
    file = {"number": 1, "name": None, "bytes": None, "erased": True, "locked": False}
    record |= {
        "reason": None, "subject_ref": None, "erased": ["attachment", "reason", "subject_ref"],
        "redacted": True, "attachments": [file],
    }  # fmt: skip
    record["decisions"][0] |= {"comment": None, "comment_erased": True}
    value["history"].append(event(8, "request.redacted", "request:3", reason="asked for"))
    text = Page(render(value)).text
    assert "Reason erased Subject reference erased Files of the case 1. erased" in text
    assert "Comment erased" in text
    assert "Erased on 8 March 2025, 10:00 UTC by anna: asked for" in text


def test_files_retention_and_holds_are_shown() -> None:
    value = request_document()
    file = {"number": 1, "name": HOSTILE, "bytes": 12345, "erased": False, "locked": False}
    value["requests"][0] |= {
        "attachments": [file], "held": True, "keep_until": "2028-03-04T10:00:00+00:00"
    }  # fmt: skip
    value["history"].append(event(8, "request.held", "request:3", reason="suit 12/26"))
    page = Page(render(value))
    assert page.all("script", "img") == []
    assert f"1. {HOSTILE} (12,345 bytes)" in page.text
    assert "until 4 March 2028, 10:00 UTC (retention class standard)" in page.text
    assert "legal hold since 8 March 2025, 10:00 UTC: suit 12/26" in page.text


def test_gates_stand_with_limit_and_rule_and_what_failed_is_marked() -> None:
    value = request_document()
    assert "keeps within the limits" not in render(value)
    gate = {
        "name": "paraphrase", "value": 0.25, "limit": 0.2, "rule": "gates.basis.bias", "dataset": "eval",
        "request": None, "passed": False,
    }  # fmt: skip
    missing = gate | {"name": "guard drop", "value": None, "dataset": None, "request": 3}
    kept = gate | {"name": "retain drop", "value": 0.1, "passed": True}
    value["gates"] = [gate, missing, kept]
    text = Page(render(value)).text
    for words in (
        "paraphrase",
        "0.250",
        "≤ 0.200",
        "failed",
        "gates.basis.bias",
        "not measured",
        "passed",
    ):
        assert words in text


def test_an_override_stands_at_the_top_and_cannot_break_the_page() -> None:
    for make in (request_document, version_document):
        value = make()
        assert "Override" not in render(value)
        gate = {
            "name": "paraphrase", "value": 0.25, "limit": 0.2, "rule": "gates", "dataset": "eval",
            "request": None, "passed": False,
        }  # fmt: skip
        entry = {
            "subject": "request 3", "about": digest("a"), "actor": "ada", "reason": "<script>now",
            "gates": [gate], "overridden_at": "2025-03-06T14:00:00+00:00", "void": False,
        }  # fmt: skip
        (value["version"] or value["requests"][0])["overrides"] = [entry]
        source = render(value)
        assert source.index('role="alert"') < source.index("<h2>Summary</h2>")
        assert "<script>" not in source
        assert "ada let request 3 pass" in Page(source).text
        assert "paraphrase 0.250 > 0.200 on eval" in Page(source).text
