"""Finding, loading and calling plug-ins: packages on the path, as pip installs them."""

from __future__ import annotations

import threading
from textwrap import dedent

import pytest

from support import Packages, python, wait_until
from tempfleet import FileRecord, Outcome, Settings
from tempfleet.errors import PluginFailed
from tempfleet.plugins.circuit_breaker import FAILURES
from tempfleet.plugins.plugin import Plugin, installed
from tempfleet.plugins.specification import AFTER_DELETE, NEAR_EXPIRY
from tempfleet.records import Deletion

A, B = FileRecord("/base/a", 0, 1, tags=("legal",)), FileRecord("/base/b", 0, 1)

VETO = """
    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        return {answer}
"""

LISTENER = """
from tempfleet.plugins import hookimpl

@hookimpl
def tempfleet_after_delete(deletions):
    pass

"""


def load(packages: Packages, code: str, name: str = "guard", **settings: object) -> Plugin:
    packages.install(name, code)
    (plugin,) = installed(Settings.load(**settings))
    return plugin


def fails(plugin: Plugin) -> str:
    with pytest.raises(PluginFailed) as failed:
        plugin.before_delete([A, B])
    return str(failed.value)


def test_an_installed_plug_in_is_found_by_its_entry_point(packages: Packages) -> None:
    packages.install("guard", VETO.format(answer="[]"), version="2.5")
    (plugin,) = installed(Settings.load())
    assert (plugin.name, plugin.before_delete([A])) == ("guard", frozenset())
    info = plugin.info()
    assert (info.name, info.version, info.where) == ("guard", "2.5", "plugin_guard")
    assert (info.hooks, info.failures) == (("before_delete",), ())


def test_without_plug_ins_there_are_none(packages: Packages) -> None:
    assert installed(Settings.load()) == ()


def test_a_plug_in_is_loaded_at_its_first_call(packages: Packages) -> None:
    plugin = load(packages, "raise RuntimeError('loaded')")
    with pytest.raises(KeyError):
        packages.module("guard")
    assert "guard.load failed: RuntimeError: loaded" in fails(plugin)


@pytest.mark.parametrize(
    ("setting", "names"),
    [("on", ["a", "b"]), ("off", []), ("b", ["b"]), ("b,a", ["a", "b"])],
)
def test_the_setting_selects_plug_ins(packages: Packages, setting: str, names: list[str]) -> None:
    for name in ("a", "b"):
        packages.install(name, VETO.format(answer="[]"))
    assert [plugin.name for plugin in installed(Settings.load(plugins=setting))] == names


def test_a_named_plug_in_that_is_not_installed_fails(packages: Packages) -> None:
    (plugin,) = installed(Settings.load(plugins="legal"))
    assert "no installed package has a plug-in of that name" in fails(plugin)


def test_two_packages_with_the_same_name_are_both_called(packages: Packages) -> None:
    packages.install("a", VETO.format(answer="['/base/a']"), names=["guard"])
    packages.install("b", VETO.format(answer="['/base/b']"), names=["guard"])
    first, second = installed(Settings.load())
    assert (first.name, second.name) == ("guard", "guard-2")
    vetoes = [plugin.before_delete([A, B]) for plugin in (first, second)]
    assert sorted(map(sorted, vetoes)) == [["/base/a"], ["/base/b"]]


def test_all_managers_of_a_process_share_the_plug_ins(packages: Packages) -> None:
    packages.install("guard", VETO.format(answer="[]"))
    assert installed(Settings.load())[0] is installed(Settings.load(max_age_seconds=5))[0]


@pytest.mark.parametrize("form", ["a class", "an object"])
def test_a_plug_in_may_be_a_class_or_an_object(packages: Packages, form: str) -> None:
    code = """
        from tempfleet.plugins import hookimpl

        class Guard:
            @hookimpl
            def tempfleet_before_delete(self, files):
                return [file.path for file in files if "legal" in file.tags]

        guard = Guard()
    """
    packages.install("guard", code, names=[])
    info = next(packages.site.glob("*.dist-info")) / "entry_points.txt"
    where = "Guard" if form == "a class" else "guard"
    info.write_text(f"[tempfleet.plugins]\nguard = plugin_guard:{where}\n")
    (plugin,) = installed(Settings.load())
    assert plugin.before_delete([A, B]) == {"/base/a"}


@pytest.mark.parametrize(
    "answer",
    ["None", "[]", "()", "iter([])", "{}"],
)
def test_an_empty_answer_is_no_veto(packages: Packages, answer: str) -> None:
    assert load(packages, VETO.format(answer=answer)).before_delete([A, B]) == frozenset()


@pytest.mark.parametrize(
    "answer",
    [
        "[file.path for file in files]",
        "(file.path for file in files)",
        "{file.path: 'why' for file in files}",
        "[file.path for file in files] + [files[0].path]",
    ],
)
def test_any_iterable_of_paths_is_a_veto(packages: Packages, answer: str) -> None:
    assert load(packages, VETO.format(answer=answer)).before_delete([A, B]) == {"/base/a", "/base/b"}


@pytest.mark.parametrize(
    "answer",
    [
        "5",
        "True",
        "'/base/a'",
        "b'/base/a'",
        "files",
        "[None]",
        "[[]]",
        "['/base/c']",
        "['/base/a', '/base/c']",
        "[b'/base/a']",
        "__import__('itertools').repeat('/base/c')",
        "(1 / 0 for file in files)",
    ],
)
def test_an_invalid_answer_is_a_failure(packages: Packages, answer: str) -> None:
    assert "guard.before_delete failed" in fails(load(packages, VETO.format(answer=answer)))


def test_an_endless_answer_is_read_no_further_than_the_batch(packages: Packages) -> None:
    code = VETO.format(answer="__import__('itertools').cycle([files[0].path])")
    assert load(packages, code).before_delete([A, B]) == {"/base/a"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("", "it has no hook; is @hookimpl missing?"),
        ("def tempfleet_before_delete(files): return []", "is @hookimpl missing?"),
        (
            LISTENER + "def tempfleet_before_delete(files): return []",
            "before_delete is not a hook; is @hookimpl",
        ),
        (VETO.format(answer="[]").replace("_before_", "_befor_"), "unknown hook 'tempfleet_befor_delete'"),
        (VETO.format(answer="[]").replace("(files)", "(paths)"), "paths"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_fails_at_every_call(
    packages: Packages, code: str, message: str
) -> None:
    plugin = load(packages, code)
    assert message in fails(plugin)
    with pytest.raises(PluginFailed):
        plugin.notify(AFTER_DELETE, [Deletion(A, Outcome.DELETED)])
    info = plugin.info()
    assert info.hooks == ()
    assert info.failures[0].startswith("load: ")


def test_a_plug_in_that_hangs_while_loading_works_once_it_is_loaded(packages: Packages) -> None:
    code = "import threading\ngate = threading.Event()\nthreading.main_thread().gate = gate\ngate.wait(30)\n"
    plugin = load(packages, code + dedent(VETO.format(answer="[]")), plugin_timeout_seconds=0.1)
    assert "guard.load failed: it did not return within 100 ms" in fails(plugin)
    for _ in range(FAILURES):
        fails(plugin)
    assert plugin.breakers["load"].is_off
    threading.main_thread().__dict__.pop("gate").set()
    wait_until(lambda: plugin._loaded)
    assert plugin.before_delete([A]) == frozenset()
    assert plugin.info().failures == ()
    assert not plugin.breakers["load"].is_off


def test_a_hook_may_take_fewer_arguments(packages: Packages) -> None:
    assert load(packages, VETO.replace("(files)", "()").format(answer="[]")).before_delete([A]) == frozenset()


def test_a_failing_hook_does_not_affect_the_others(packages: Packages) -> None:
    code = (
        VETO.format(answer="[files[0].path]")
        + """
    @hookimpl
    def tempfleet_after_delete(deletions):
        raise OSError("disk full")
    """
    )
    plugin = load(packages, code)
    for _ in range(5):
        with pytest.raises(PluginFailed):
            plugin.notify(AFTER_DELETE, [Deletion(A, Outcome.DELETED)])
    assert plugin.before_delete([A, B]) == {"/base/a"}
    assert plugin.info().failures == ("after_delete: OSError: disk full",)


def test_listeners_get_values(packages: Packages) -> None:
    code = """
        from tempfleet.plugins import hookimpl

        values = []

        @hookimpl
        def tempfleet_after_delete(deletions):
            values.append(deletions)

        @hookimpl
        def tempfleet_near_expiry(files):
            values.append(files)
    """
    plugin = load(packages, code)
    deletion = Deletion(A, Outcome.DELETED)
    plugin.notify(AFTER_DELETE, [deletion])
    plugin.notify(NEAR_EXPIRY, [A, B])
    assert packages.module("guard").values == [(deletion,), (A, B)]
    assert plugin.before_delete([A]) == frozenset()


POLICIES = """
    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_eviction_policies():
        return {answer}
"""


def test_eviction_policies_are_names_and_score_functions(packages: Packages) -> None:
    plugin = load(packages, POLICIES.format(answer="{'smallest': lambda file: file.size_bytes}"))
    smallest = plugin.eviction_policies()["smallest"]
    assert smallest([FileRecord("/a", 0, 0, size_bytes=7), FileRecord("/b", 0, 0, size_bytes=5)]) == [7, 5]
    assert smallest([]) == []


@pytest.mark.parametrize(
    "answer",
    ["{'Smallest': len}", "{'': len}", "{'a' * 33: len}", "{1: len}", "{'a': 5}", "[('a', len)]", "5"],
)
def test_invalid_policies_are_a_failure(packages: Packages, answer: str) -> None:
    plugin = load(packages, POLICIES.format(answer=answer))
    with pytest.raises(PluginFailed):
        plugin.eviction_policies()


@pytest.mark.parametrize("key", ["1 / 0", "float('nan')", "'first'", "None"])
def test_a_policy_that_raises_or_returns_no_number_fails(packages: Packages, key: str) -> None:
    policies = load(packages, POLICIES.format(answer=f"{{'odd': lambda file: {key}}}")).eviction_policies()
    with pytest.raises(PluginFailed, match=r"plug-in guard\.odd failed"):
        policies["odd"]([A, B])


HANGING_KEY = """
    import threading
    from tempfleet.plugins import hookimpl

    gate = threading.Event()

    @hookimpl
    def tempfleet_eviction_policies():
        return {"slow": lambda file: gate.wait() and 1}
"""


def test_a_policy_that_hangs_fails_and_works_again_when_it_has_returned(packages: Packages) -> None:
    plugin = load(packages, HANGING_KEY, plugin_timeout_seconds=0.1)
    slow = plugin.eviction_policies()["slow"]
    with pytest.raises(PluginFailed, match=r"guard\.slow failed: it did not return within 100 ms"):
        slow([A])
    with pytest.raises(PluginFailed, match="an earlier call has not returned"):
        plugin.eviction_policies()["slow"]([A])
    packages.module("guard").gate.set()
    wait_until(lambda: not plugin.breakers["eviction_policies.slow"]._hangs())
    assert slow([A, B]) == [1, 1]


def test_the_name_of_a_plug_in_is_harmless_wherever_it_goes(packages: Packages) -> None:
    packages.install("guard", VETO.format(answer="[]"), names=['we:ird "näme"' + "x" * 100])
    (plugin,) = installed(Settings.load())
    assert plugin.name == "we_ird__n_me_" + "x" * 51


@pytest.mark.process
def test_importing_the_library_finds_and_loads_nothing(packages: Packages) -> None:
    packages.install("guard", "print('loaded')")
    child = python("import sys, tempfleet.plugins\nprint('plugin_guard' in sys.modules)")
    assert child.communicate(timeout=30)[0] == "False\n"
