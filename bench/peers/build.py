"""The peers' programs and the manifests that they are published with, by the go client: nothing of them is kept here."""

from __future__ import annotations

from pathlib import Path

from devcluster import programs

# Module, its version, and the program in it.
TRAINING_OPERATOR = ("github.com/kubeflow/training-operator", "v1.9.4", "cmd/training-operator.v1")
TRAINER = ("github.com/kubeflow/trainer/v2", "v2.3.0", "cmd/trainer-controller-manager")
# Its module lists no versions, which `go install PROGRAM@VERSION` asks for: go.mod beside this file has it as a tool.
JOBSET = ("sigs.k8s.io/jobset", "v0.12.0", "")
MODULES = (TRAINING_OPERATOR, TRAINER, JOBSET)


def ensure() -> None:
    """Builds what is missing of the programs, and fetches what is published beside them."""
    for module, version, folder in (TRAINING_OPERATOR, TRAINER):
        programs.install(Path(folder).name, f"{module}/{folder}@{version}")
    programs.install("jobset", "@".join(JOBSET[:2]), module=Path(__file__).parent)
    for of in MODULES:
        sources(of)


def missing() -> list[str]:
    names = [Path(folder).name or "jobset" for _, _, folder in MODULES]
    return [name for name in names if not programs.program(name).exists()]


def sources(of: tuple[str, str, str]) -> Path:
    """The folder of a module, in Go's own cache."""
    return programs.published(f"{of[0]}@{of[1]}")
