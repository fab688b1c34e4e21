"""CNN-RNN: an image's labels are predicted one after the other.

Wang et al., "CNN-RNN: A Unified Framework for Multi-Label Image Classification", CVPR 2016
(arXiv 1604.04573). Trained on the label sequences of `losses.label_sequences`, frequent labels
first, by `losses.sequence_nll`; decoded by beam search, without repetitions, to the scores of
`models.label_rnn.path_scores`.
"""

from typing import ClassVar

from torch import nn

from retdm import losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import (
    Method,
    StepContext,
    StepOutput,
    global_share,
    no_autocast,
    step_output,
)
from retdm.methods.classifier import EMBEDDING
from retdm.models.label_rnn import LabelRnn


class CnnRnn(Method):
    """Image net and recurrent label net, trained jointly."""

    classification: ClassVar[str] = "cnn-rnn"
    looks_at = frozenset({"cnn_rnn"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """Put a fresh label net on `image`; the `cnn_rnn` settings are used."""
        settings = config.cnn_rnn
        net = LabelRnn(
            config.model.embedding,
            labels,
            label_embedding=settings.label_embedding,
            hidden=settings.hidden,
            beam=settings.beam,
        )
        reading = {
            "label net": f"LSTM of {settings.hidden} units on label vectors of "
            f"{settings.label_embedding}, which END has too, shared by input and output; "
            "image joined after it, tanh",
            "cnn-rnn": "cross-entropy over END and the labels not yet named, decreasing training "
            f"frequency, teacher forcing, mean over images, {settings.reduction} over steps",
            "scores": f"beam of {settings.beam} by path probability, until END: share of the "
            "paths that name the label, ties by its largest step probability",
        }
        super().__init__({"image": image, "classifier": net}, EMBEDDING | reading)
        self.settings = settings

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; the batch and the label counts are all that it depends on."""
        net = self.parts["classifier"]
        assert isinstance(net, LabelRnn)
        embeddings = self.embed_batch(batch, context)
        with no_autocast(embeddings.device):
            sequences = losses.label_sequences(batch.targets, context.label_sets.label_counts)
            each = losses.sequence_nll(
                net.sequence_scores(embeddings, sequences),
                sequences,
                reduction=self.settings.reduction,
            )
            share = global_share(each, batch)
        return step_output({self.classification: (1.0, share)}, {}, None)
