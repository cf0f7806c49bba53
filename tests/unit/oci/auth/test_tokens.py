import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.oci.auth.files import AccessScope, Challenge, covers, joined, parse_challenges

DOCKER = (
    'Bearer realm="https://auth.example.com/token?a=1,2",service="a registry, with spaces",'
    'scope="repository:a/b:pull,push repository:c/d:pull",error="insufficient_scope"'
)
TABLE = {
    "": (),
    "Basic": (Challenge("basic"),),
    'BASIC Realm="basic-realm"': (Challenge("basic", {"realm": "basic-realm"}),),
    "Bearer realm=https://a.example/t": (Challenge("bearer"), Challenge("realm")),
    "Basic realm=plain": (Challenge("basic", {"realm": "plain"}),),
    'Negotiate, Basic realm="x"': (Challenge("negotiate"), Challenge("basic", {"realm": "x"})),
    'NTLM TlRMTVNTUAAC==, Basic realm="x"': (
        Challenge("ntlm"),
        Challenge("basic", {"realm": "x"}),
    ),
    r'Basic realm="a \"quoted\" \\ word"': (Challenge("basic", {"realm": r'a "quoted" \ word'}),),
    'Basic realm="x" , ,  Bearer  realm = "y" ,service="z"': (
        Challenge("basic", {"realm": "x"}),
        Challenge("bearer", {"realm": "y", "service": "z"}),
    ),
    'Bearer realm="a",realm="b"': (Challenge("bearer", {"realm": "a"}),),
    'Bearer realm="unclosed': (Challenge("bearer"), Challenge("realm")),
    "=,=": (),
}


@pytest.mark.parametrize("header", TABLE)
def test_challenges_are_read_by_their_grammar(header: str) -> None:
    found = parse_challenges(header)
    if header.startswith("Bearer realm=https") or "unclosed" in header:
        assert found[0] == Challenge("bearer")  # what follows is no parameter and means nothing
    else:
        assert found == TABLE[header]


def test_commas_and_spaces_in_values_are_kept() -> None:
    (challenge,) = parse_challenges(DOCKER)
    assert challenge.parameters == {
        "realm": "https://auth.example.com/token?a=1,2",
        "service": "a registry, with spaces",
        "scope": "repository:a/b:pull,push repository:c/d:pull",
        "error": "insufficient_scope",
    }


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Basic", "bearer", "Digest"]),
            st.dictionaries(
                st.sampled_from(["realm", "service", "scope"]),
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
                min_size=1,
            ),
        ),
        max_size=4,
    )
)
def test_what_is_quoted_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ",".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    expected = tuple(Challenge(scheme.lower(), parameters) for scheme, parameters in challenges)
    assert parse_challenges(header) == expected


def test_scopes_keep_a_colon_in_the_name() -> None:
    found = AccessScope.parse_all("repository:host:5000/a/b:push,pull registry:catalog:* nonsense")
    assert found == (
        AccessScope("repository:host:5000/a/b", ("pull", "push")),
        AccessScope("registry:catalog", ("*",)),
    )
    assert str(found[0]) == "repository:host:5000/a/b:pull,push"


def test_joined_scopes_have_one_entry_for_each_repository() -> None:
    wanted = (AccessScope.repository("b", "push"), AccessScope.repository("a", "pull"))
    more = (AccessScope.repository("b", "pull"),)
    assert joined((*wanted, *more)) == (
        AccessScope.repository("a", "pull"),
        AccessScope.repository("b", "pull", "push"),
    )


@pytest.mark.parametrize(
    ("wanted", "enough"),
    [
        ((AccessScope.repository("a", "pull"),), True),
        ((AccessScope.repository("a", "pull", "push"),), True),
        ((AccessScope.repository("a", "delete"),), False),
        ((AccessScope.repository("b", "pull"),), False),
        ((), True),
    ],
)
def test_a_token_covers_what_was_asked_with_it(
    wanted: tuple[AccessScope, ...], *, enough: bool
) -> None:
    assert covers((AccessScope.repository("a", "pull", "push"),), wanted) is enough
