"""Processes as a grid: pipeline stages × data-parallel replicas × tensor shards of a layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

# Outermost first: ranks of one node are neighbours, so tensor shards (which talk in every layer) stay within a node, and stages
# (which talk once a microbatch) lie on different nodes.
PIPELINE, DATA, TENSOR = "pipeline", "data", "tensor"


class LayoutError(ValueError):
    """The processes, the model or the batch cannot be divided as asked; the message says why and what would do."""


@dataclass(frozen=True)
class Layout:
    """How many ways each dimension is divided; their product is the number of processes."""

    pipeline: int
    data: int
    tensor: int

    @property
    def model_parallel(self) -> bool:
        """Does a process hold only a part of the model's layers or of their features?"""
        return self.pipeline > 1 or self.tensor > 1

    def mesh(self, device_type: str) -> DeviceMesh:
        """A mesh with the dimensions "pipeline", "data", "tensor"; the same call in every process."""
        return init_device_mesh(
            device_type, (self.pipeline, self.data, self.tensor), mesh_dim_names=(PIPELINE, DATA, TENSOR)
        )


def layout(processes: int, pipeline: int = 1, tensor: int = 1) -> Layout:
    """What is left beside pipeline and tensor is data parallel. Raises LayoutError where they do not divide ``processes``."""
    if processes % (pipeline * tensor):
        raise LayoutError(
            f"{processes} processes cannot be divided into pipeline_stages × tensor_parallel = {pipeline} × {tensor}: "
            f"take a multiple of {pipeline * tensor} processes (spec.nodes × spec.processesPerNode)"
        )
    return Layout(pipeline, processes // (pipeline * tensor), tensor)
