# SPDX-License-Identifier: Apache-2.0
"""The rules that `make lint` counts (`scripts/house.py`)."""

from scripts.house import circles, circles_in


def test_no_folders_of_the_agent_import_each_other() -> None:
    assert list(circles()) == []


def test_a_circle_is_named_once_with_the_modules_that_make_it() -> None:
    sources = {
        "agent.py": "from ipos.agent.view import report\n",
        "view/report.py": "from ipos.agent.rows import pools\nimport time\n",
        "rows/pools.py": "def work():\n    from ipos.agent.host.load import Load\n",
        "host/load.py": "from ipos.agent.view.report import line\n",
    }
    (told,) = circles_in("ipos.agent", sources)
    assert "host/load.py imports ipos.agent.view.report.line" in told
    assert "rows/pools.py imports ipos.agent.host.load.Load" in told
    assert "agent.py" not in told


def test_a_folder_does_not_import_the_modules_above_it() -> None:
    sources = {
        "agent.py": "import ipos.agent.view.report\n",
        "tasks.py": "",
        "view/report.py": "from ipos.agent import tasks\n",
    }
    (told,) = circles_in("ipos.agent", sources)
    assert "view/report.py imports ipos.agent.tasks" in told


def test_imports_in_one_direction_are_no_circle() -> None:
    sources = {
        "agent.py": "from ipos.agent import view\nfrom ipos.agent.view import report\n",
        "view/__init__.py": "",
        "view/report.py": "from ipos.agent.view import lines\n",
        "view/lines.py": "from ipos.files import read\n",
    }
    assert list(circles_in("ipos.agent", sources)) == []
