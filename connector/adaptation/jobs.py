"""Every job there is: its spec's class and who runs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter

from connector.adaptation.fusion.spec import FusionSpec
from connector.adaptation.items.spec import CoInteractionSpec, CollaborativeAlignmentSpec
from connector.adaptation.pixels.spec import MaskedPatchesSpec, ViewsSpec
from connector.adaptation.report import TrainingReport
from connector.adaptation.semantic.spec import NextSemanticIdSpec, SemanticIdsSpec
from connector.adaptation.sequences.spec import MaskedItemSpec, NextItemSpec
from connector.adaptation.spec import ContrastiveSpec
from connector.adaptation.universal.spec import UniversalSequenceSpec

if TYPE_CHECKING:
    from connector.adaptation.processes import Processes

JobSpec: TypeAlias = (
    ContrastiveSpec
    | NextItemSpec
    | MaskedItemSpec
    | SemanticIdsSpec
    | NextSemanticIdSpec
    | UniversalSequenceSpec
    | CollaborativeAlignmentSpec
    | CoInteractionSpec
    | MaskedPatchesSpec
    | ViewsSpec
    | FusionSpec
)
SPECS: TypeAdapter[JobSpec] = TypeAdapter(Annotated[JobSpec, Field(discriminator="job")])

# Imported when a job is run: a spec can be read without torch.
RUNNERS = {
    "contrastive": "contrastive:pretrain_contrastive",
    "next_item": "sequences.job:pretrain_sequence",
    "masked_item": "sequences.job:pretrain_sequence",
    "semantic_ids": "semantic.ids_job:pretrain_semantic_ids",
    "universal_sequence": "universal.job:pretrain_universal",
    "collaborative_alignment": "items.align_job:pretrain_alignment",
    "co_interaction": "items.co_job:pretrain_co_interaction",
    "masked_patches": "pixels.patches_job:pretrain_masked_patches",
    "views": "pixels.views_job:pretrain_views",
    "next_semantic_id": "semantic.next_job:pretrain_next_semantic_id",
    "fusion": "fusion.job:pretrain_fusion",
}


def pretrain(spec: JobSpec, *, resume: bool = False, until: int | None = None, show: bool = True) -> TrainingReport:
    """Run the job that a spec describes.

    Of several processes (`accelerate launch`, `torchrun`) the main one writes the result; none returns before it lies
    there, which the jobs' own functions, called directly, do not see to.

    Args:
        resume: go on from the newest checkpoint in `spec.out`; on the CPU the result is that of an undisturbed run.
        until: leave off after this step, as if interrupted.
        show: draw a progress bar where a person is watching.

    Raises:
        TrainingError: nothing to learn from, a device that is not there, or a loss that is not finite.
        ConfigurationError: `resume` finds a checkpoint of another spec, or of other data.
    """
    module, _, function = RUNNERS[spec.job].partition(":")
    run: Any = getattr(import_module(f"connector.adaptation.{module}"), function)
    processes = job_processes(spec)
    report: TrainingReport = run(spec, resume=resume, until=until, show=show and processes.main)
    # Whoever went on now might look for a result that is still being written.
    processes.wait()
    return report


def job_processes(spec: JobSpec) -> Processes:
    """The processes that share a job.

    Raises:
        TrainingError: a device that is not there.
    """
    # Imports torch, which reading a spec does without.
    from connector.adaptation.processes import Processes, choose_device

    return Processes(choose_device(spec.device))
