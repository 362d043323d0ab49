"""The label space of a model: its classes, domains and prompt templates."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from governance.errors import InvalidInputError

PLACEHOLDER = "{class}"
MAX_NAME = 200
"""Longest name of a class or domain, in characters; the ledger's columns hold no more."""
SCORE_TEMPLATE = "a photo of a {class}"
TEMPLATES = (
    "a photo of a {class}",
    "a picture of a {class}",
    "an image of a {class}",
    "a depiction of a {class}",
    "a {class}",
)
EVAL_TEMPLATES = (
    "itap of a {class}",
    "a bad photo of the {class}",
    "a photo of the large {class}",
    "a photo of the small {class}",
    "a {class} in a video game",
    "art of the {class}",
)
"""Prompts that only score: the short ensemble of OpenAI's CLIP without its origami, which few classes come in."""


@dataclass(frozen=True)
class LabelSpace:
    """What a model is asked to tell apart, and the words used to ask.

    Attributes:
        classes: names, in the order of the zero-shot classifier's columns.
        domains: names; may be empty, then only whole classes can be forgotten.
        templates: prompts that name no domain, each with one ``{class}``.
        domain_templates: for each domain its prompts; the first one scores.
        score_template: the zero-shot prompt that names no domain.
        synonyms: other words for a class, never used in a fit.
        eval_templates: prompts that name no domain and only score paraphrases; see `held_out_templates`.
    """

    classes: tuple[str, ...]
    domains: tuple[str, ...] = ()
    templates: tuple[str, ...] = TEMPLATES
    domain_templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    score_template: str = SCORE_TEMPLATE
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    eval_templates: tuple[str, ...] = EVAL_TEMPLATES

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises:
            InvalidInputError: fewer than two classes, a name twice, a template without its place.
        """
        if len(self.classes) < 2:
            raise InvalidInputError("a label space needs at least two classes")
        for what, names in (("class", self.classes), ("domain", self.domains)):
            _check_names(what, names)
        if set(self.domain_templates) != set(self.domains):
            raise InvalidInputError("every domain needs its templates")
        templates = [*self.fit_templates, *self.eval_templates]
        for domain in self.domains:
            if not self.domain_templates[domain]:
                raise InvalidInputError(f"domain {domain!r} has no template")
        if not self.templates:
            raise InvalidInputError("at least one template that names no domain is needed")
        for template in templates:
            if template.count(PLACEHOLDER) != 1:
                raise InvalidInputError(f"template {template!r} must hold {PLACEHOLDER} once")
        for name, words in self.synonyms.items():
            if name not in self.classes:
                raise InvalidInputError(f"synonyms are given for {name!r}, which is not a class")
            _check_names("synonym", words)
            for word in words:
                if word in self.classes:
                    raise InvalidInputError(f"synonym {word!r} of {name!r} is itself a class")

    @property
    def fit_templates(self) -> tuple[str, ...]:
        """Every template that a fit or the zero-shot classifier uses."""
        named = [template for domain in self.domains for template in self.domain_templates[domain]]
        return (*self.templates, self.score_template, *named)

    @property
    def held_out_templates(self) -> tuple[str, ...]:
        """The evaluation templates that are outside the fit."""
        used = set(self.fit_templates)
        return tuple(dict.fromkeys(t for t in self.eval_templates if t not in used))

    @property
    def paraphrases(self) -> list[tuple[str, str]]:
        """(class, prompt) of every paraphrase: synonyms in the score template, then held-out templates."""
        return [
            (label, prompt)
            for label in self.classes
            for prompt in (
                *(fill(self.score_template, word) for word in self.synonyms.get(label, ())),
                *(fill(template, label) for template in self.held_out_templates),
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """The label space as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "LabelSpace":
        """Inverse of `to_dict`."""
        return cls(
            classes=tuple(value["classes"]),
            domains=tuple(value["domains"]),
            templates=tuple(value["templates"]),
            domain_templates={k: tuple(v) for k, v in value["domain_templates"].items()},
            score_template=value["score_template"],
            synonyms={k: tuple(v) for k, v in value["synonyms"].items()},
            eval_templates=tuple(value["eval_templates"]),
        )


def fill(template: str, label: str) -> str:
    """The prompt that a template makes of a class name."""
    return template.replace(PLACEHOLDER, label)


def default_domain_templates(domain: str) -> tuple[str, ...]:
    """Prompts for a domain that is only named, ``art_painting`` giving "an art painting of a …"."""
    words = domain.replace("_", " ").replace("-", " ").strip()
    article = "an" if words[:1].lower() in tuple("aeiou") else "a"
    return (
        f"{article} {words} of a {PLACEHOLDER}",
        f"{article} {words} of the {PLACEHOLDER}",
        f"{article} {words} showing a {PLACEHOLDER}",
        f"a {PLACEHOLDER}, {words}",
    )


_KEYS = {"classes", "templates", "score_template", "eval_templates", "domains", "synonyms"}


def parse_labels(text: str, toml: bool, domains: Iterable[str] = ()) -> LabelSpace:
    """Read a label file.

    Args:
        text: its content. Plain: one class a line, ``#`` starts a comment. TOML: keys ``classes``,
            ``templates``, ``score_template``, ``eval_templates``, tables ``[domains]`` (name to templates,
            an empty list for the default ones) and ``[synonyms]``.
        toml: which of the two.
        domains: domains named outside the file, added with default templates.

    Raises:
        InvalidInputError: the content is not a label space.
    """
    named = {domain: default_domain_templates(domain) for domain in domains}
    if not toml:
        lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
        classes = tuple(line for line in lines if line)
        return LabelSpace(classes, tuple(named), domain_templates=named)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"the label file is not valid TOML: {error}") from error
    unknown = table.keys() - _KEYS
    if unknown:
        raise InvalidInputError(f"the label file has an unknown key: {', '.join(sorted(unknown))}")
    if not isinstance(table.get("score_template", ""), str):
        raise InvalidInputError("score_template in the label file must be a string")
    in_file = {
        domain: templates or default_domain_templates(domain)
        for domain, templates in _string_lists(table, "domains").items()
    }
    all_domains = named | in_file
    space = LabelSpace(
        classes=_strings(table.get("classes"), "classes"),
        domains=tuple(all_domains),
        templates=_strings(table.get("templates", list(TEMPLATES)), "templates"),
        domain_templates=all_domains,
        score_template=table.get("score_template", SCORE_TEMPLATE),
        synonyms=_string_lists(table, "synonyms"),
        eval_templates=_strings(
            table.get("eval_templates", list(EVAL_TEMPLATES)), "eval_templates"
        ),
    )
    if "eval_templates" in table:
        for template in space.eval_templates:
            if template in space.fit_templates:
                raise InvalidInputError(
                    f"{template!r} is a template of the fit, so it cannot be an evaluation template"
                )
    return space


def _check_names(what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not name.strip():
            raise InvalidInputError(f"the label space has an empty {what} name")
        if not name.isprintable():
            raise InvalidInputError(f"{what} {name!r} holds characters that cannot be printed")
        if name != name.strip():
            raise InvalidInputError(f"{what} {name!r} begins or ends with white space")
        if len(name) > MAX_NAME:
            raise InvalidInputError(
                f"{what} {name[:20]!r}… has {len(name)} characters; {MAX_NAME} are allowed"
            )
        if names.count(name) > 1:
            raise InvalidInputError(f"{what} {name!r} stands twice in the label space")


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError(f"{key} in the label file must be a list of strings")
    return tuple(value)


def _string_lists(table: Mapping[str, Any], key: str) -> dict[str, tuple[str, ...]]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise InvalidInputError(f"[{key}] in the label file must be a table")
    return {name: _strings(items, f"{key}.{name}") for name, items in value.items()}
