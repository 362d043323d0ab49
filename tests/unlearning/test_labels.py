"""Label spaces: what the two file formats mean, and every way in which they can be wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import canonical_json, load_json
from governance.errors import InvalidInputError
from governance.unlearning.labels import (
    EVAL_TEMPLATES,
    PLACEHOLDER,
    SCORE_TEMPLATE,
    TEMPLATES,
    LabelSpace,
    default_domain_templates,
    parse_labels,
)

FULL = """
classes = ["dog", "traffic light"]
templates = ["a photo of a {class}", "the {class}"]
score_template = "one {class}"
eval_templates = ["look: {class}"]

[domains]
photo = ["a photo of a {class}", "{class}, photo"]
oil-painting = []

[synonyms]
dog = ["hound", "puppy"]
"""


def test_plain_file_lists_one_class_a_line_without_comments_and_blanks() -> None:
    text = "# animals\ndog\n\n  cat  # the small one\n\ttraffic light\t\n   \n#horse\n"
    space = parse_labels(text, toml=False)
    assert space.classes == ("dog", "cat", "traffic light")
    assert space.domains == ()
    assert space.templates == TEMPLATES
    assert space.score_template == SCORE_TEMPLATE
    assert space.synonyms == {}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_plain_file_takes_any_newline_and_needs_none_at_the_end(newline: str) -> None:
    assert parse_labels(newline.join(["dog", "cat"]), toml=False).classes == ("dog", "cat")


def test_plain_file_takes_domains_named_outside_with_default_templates() -> None:
    space = parse_labels("dog\ncat\n", toml=False, domains=["sketch", "art_painting"])
    assert space.domains == ("sketch", "art_painting")
    assert space.domain_templates["art_painting"] == default_domain_templates("art_painting")


def test_toml_file_with_every_key() -> None:
    space = parse_labels(FULL, toml=True)
    assert space == LabelSpace(
        classes=("dog", "traffic light"),
        domains=("photo", "oil-painting"),
        templates=("a photo of a {class}", "the {class}"),
        domain_templates={
            "photo": ("a photo of a {class}", "{class}, photo"),
            "oil-painting": default_domain_templates("oil-painting"),
        },
        score_template="one {class}",
        synonyms={"dog": ("hound", "puppy")},
        eval_templates=("look: {class}",),
    )


def test_paraphrases_are_synonyms_in_the_score_template_and_classes_in_held_out_templates() -> None:
    assert parse_labels(FULL, toml=True).paraphrases == [
        ("dog", "one hound"),
        ("dog", "one puppy"),
        ("dog", "look: dog"),
        ("traffic light", "look: traffic light"),
    ]


def test_default_evaluation_templates_leave_out_what_the_fit_uses() -> None:
    assert not set(EVAL_TEMPLATES) & {*TEMPLATES, SCORE_TEMPLATE}
    assert LabelSpace(("a", "b")).held_out_templates == EVAL_TEMPLATES
    used = LabelSpace(
        ("a", "b"),
        ("x",),
        templates=(EVAL_TEMPLATES[0],),
        score_template=EVAL_TEMPLATES[1],
        domain_templates={"x": (EVAL_TEMPLATES[2],)},
    )
    assert used.held_out_templates == EVAL_TEMPLATES[3:]


def test_toml_file_with_classes_alone_takes_the_defaults() -> None:
    assert parse_labels('classes = ["dog", "cat"]', toml=True) == LabelSpace(("dog", "cat"))


def test_templates_in_the_file_win_over_the_default_ones_of_a_named_domain() -> None:
    space = parse_labels(FULL, toml=True, domains=["sketch", "photo"])
    assert space.domains == ("sketch", "photo", "oil-painting")
    assert space.domain_templates["photo"] == ("a photo of a {class}", "{class}, photo")
    assert space.domain_templates["sketch"] == default_domain_templates("sketch")


MALFORMED = {
    "not TOML": ("classes = [", "not valid TOML"),
    "unknown keys": ('classes = ["a", "b"]\nzeta = 1\nclass = 2', "unknown key: class, zeta"),
    "no classes": ('score_template = "{class}"', "classes in the label file must be a list"),
    "classes a string": ('classes = "dog"', "classes in the label file must be a list"),
    "a class a number": ('classes = ["dog", 3]', "classes in the label file must be a list"),
    "one class": ('classes = ["dog"]', "at least two classes"),
    "a class twice": ('classes = ["dog", "cat", "dog"]', "class 'dog' stands twice"),
    "a long class": (f'classes = ["dog", "{"c" * 201}"]', "201 characters; 200 are allowed"),
    "an empty class": ('classes = ["dog", " "]', "empty class name"),
    "templates a string": ('classes = ["a", "b"]\ntemplates = "x"', "templates in the label file"),
    "no templates": ('classes = ["a", "b"]\ntemplates = []', "at least one template"),
    "a template without its place": (
        'classes = ["a", "b"]\ntemplates = ["a photo"]',
        "template 'a photo' must hold {class} once",
    ),
    "a template with two places": (
        'classes = ["a", "b"]\ntemplates = ["{class} {class}"]',
        "'{class} {class}' must hold {class} once",
    ),
    "score template a list": (
        'classes = ["a", "b"]\nscore_template = ["{class}"]',
        "score_template in the label file must be a string",
    ),
    "score template without its place": (
        'classes = ["a", "b"]\nscore_template = "a thing"',
        "template 'a thing' must hold {class} once",
    ),
    "domains a list": ('classes = ["a", "b"]\ndomains = ["photo"]', "[domains] in the label file"),
    "a domain a string": (
        'classes = ["a", "b"]\n[domains]\nphoto = "a photo of a {class}"',
        "domains.photo in the label file must be a list of strings",
    ),
    "a domain template without its place": (
        'classes = ["a", "b"]\n[domains]\nphoto = ["a photo"]',
        "template 'a photo' must hold {class} once",
    ),
    "an empty domain": ('classes = ["a", "b"]\n[domains]\n" " = []', "empty domain name"),
    "synonyms a list": ('classes = ["a", "b"]\nsynonyms = []', "[synonyms] in the label file"),
    "synonyms of nothing": (
        'classes = ["a", "b"]\n[synonyms]\nc = ["d"]',
        "synonyms are given for 'c', which is not a class",
    ),
    "a synonym that is a class": (
        'classes = ["a", "b"]\n[synonyms]\na = ["b"]',
        "synonym 'b' of 'a' is itself a class",
    ),
    "a synonym twice": (
        'classes = ["a", "b"]\n[synonyms]\na = ["c", "c"]',
        "synonym 'c' stands twice",
    ),
    "an empty synonym": ('classes = ["a", "b"]\n[synonyms]\na = [""]', "empty synonym name"),
    "evaluation templates a string": (
        'classes = ["a", "b"]\neval_templates = "x"',
        "eval_templates in the label file must be a list of strings",
    ),
    "an evaluation template without its place": (
        'classes = ["a", "b"]\neval_templates = ["a thing"]',
        "template 'a thing' must hold {class} once",
    ),
    "an evaluation template of the fit": (
        'classes = ["a", "b"]\neval_templates = ["a {class}"]',
        "'a {class}' is a template of the fit, so it cannot be an evaluation template",
    ),
    "a synonym a number": (
        'classes = ["a", "b"]\n[synonyms]\na = [1]',
        "synonyms.a in the label file must be a list of strings",
    ),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_toml_is_refused_with_the_place_and_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_labels(text, toml=True)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "dog\n", "# dog\ncat\n"])
def test_plain_file_with_fewer_than_two_classes_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="at least two classes"):
        parse_labels(text, toml=False)


def test_plain_file_that_repeats_a_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="class 'dog' stands twice"):
        parse_labels("dog\ncat\ndog # again\n", toml=False)


def test_a_domain_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="domain 'photo' stands twice"):
        LabelSpace(("a", "b"), ("photo", "photo"), domain_templates={"photo": ("{class}",)})


@pytest.mark.parametrize("templates", [{}, {"photo": ("{class}",), "sketch": ("{class}",)}])
def test_domains_and_their_templates_have_to_match(templates: dict[str, tuple[str]]) -> None:
    with pytest.raises(InvalidInputError, match="every domain needs its templates"):
        LabelSpace(("a", "b"), ("photo",), domain_templates=templates)


def test_a_domain_without_templates_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="domain 'photo' has no template"):
        LabelSpace(("a", "b"), ("photo",), domain_templates={"photo": ()})


@pytest.mark.parametrize(
    ("domain", "first"),
    [
        ("photo", "a photo of a {class}"),
        ("art_painting", "an art painting of a {class}"),
        ("oil-painting", "an oil painting of a {class}"),
        ("Etching", "an Etching of a {class}"),
        ("sketch", "a sketch of a {class}"),
        ("_ink", "an ink of a {class}"),
    ],
)
def test_default_domain_templates_use_the_right_article(domain: str, first: str) -> None:
    templates = default_domain_templates(domain)
    assert templates[0] == first
    article = first.split(" ", 1)[0]
    assert all(t.startswith((f"{article} ", f"a {PLACEHOLDER}")) for t in templates)
    assert len(set(templates)) == len(templates)
    assert all(t.count(PLACEHOLDER) == 1 for t in templates)


NAMES = st.lists(st.text("abcdé 中_-", min_size=1).map(str.strip).filter(bool), unique=True)
WORDS = st.text("xyz ü", max_size=6)
SYNONYMS = st.lists(st.text("xyzü", min_size=1, max_size=6), unique=True).map(tuple)


@st.composite
def label_spaces(draw: st.DrawFn) -> LabelSpace:
    classes = tuple(draw(NAMES.filter(lambda names: len(names) > 1)))
    domains = tuple(draw(NAMES))
    template = WORDS.map(lambda words: f"{words}{PLACEHOLDER}")
    templates = st.lists(template, min_size=1, max_size=3).map(tuple)
    return LabelSpace(
        classes,
        domains,
        draw(templates),
        {domain: draw(templates) for domain in domains},
        draw(template),
        draw(st.dictionaries(st.sampled_from(classes), SYNONYMS)),
        draw(templates),
    )


@given(label_spaces())
@settings(max_examples=40, deadline=None)
def test_a_label_space_survives_canonical_json(space: LabelSpace) -> None:
    assert LabelSpace.from_dict(load_json(canonical_json(space.to_dict()))) == space
