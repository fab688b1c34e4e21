"""The recurrent label net of CNN-RNN: one label after the other, each given those before it.

Wang et al., CVPR 2016 (arXiv 1604.04573). Shapes: rows = images or paths, embed = embedding
width, labels = columns of the label space, outcomes = labels and, last, END.
"""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from retdm.models.beam import Paths, State, beam_search

_TIE_BREAK = 1e-3
"""Share of a score that tells apart labels which the same paths name."""


class LabelRnn(nn.Module):
    r"""An LSTM over label vectors, joined with the image before the scores.

    $$o_t, r_t = LSTM(r_{t-1}, U_l[l_{t-1}]), \quad x_t = \tanh(U_x o_t + U_I f), \quad
      s_t = U_l x_t$$

    U_l holds a vector for each label and for END, the same one for what goes in and what comes
    out. END's is also what the first step is given. U_x has a bias; the scores have none.
    """

    def __init__(
        self, embedding: int, labels: int, *, label_embedding: int, hidden: int, beam: int
    ) -> None:
        """Make the net; label vectors start normal with expected square length 1.

        Args:
            embedding: Width of the image embedding.
            labels: Number of labels; END has this number.
            label_embedding: Width of a label's vector, and of x.
            hidden: Units of the LSTM.
            beam: Paths kept while decoding.
        """
        super().__init__()
        self.labels = labels
        self.beam = beam
        self.label = nn.Embedding(labels + 1, label_embedding)
        nn.init.normal_(self.label.weight, std=label_embedding**-0.5)
        self.recurrent = nn.LSTM(label_embedding, hidden, batch_first=True)
        self.from_recurrent = nn.Linear(hidden, label_embedding)
        self.from_image = nn.Linear(embedding, label_embedding, bias=False)

    def sequence_scores(
        self, embeddings: Float[Tensor, "rows embed"], sequences: Int64[Tensor, "rows steps"]
    ) -> Float[Tensor, "rows steps outcomes"]:
        """Scores at every step of given sequences, each step told the true outcomes before it."""
        before = nn.functional.pad(sequences, (1, -1), value=self.labels)
        outputs, _ = self.recurrent(self.label(before))
        return self._scores(outputs, self.from_image(embeddings)[:, None])

    def paths(self, embeddings: Float[Tensor, "rows embed"]) -> Paths:
        """The likeliest sequences of each image, by beam search."""
        image = self.from_image(embeddings).repeat_interleave(self.beam, 0)
        start = image.new_zeros(len(image), self.recurrent.hidden_size)

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            given = tuple(part[None] for part in state)
            outputs, state = self.recurrent(self.label(tokens)[:, None], given)
            return self._scores(outputs[:, 0], image), tuple(part[0] for part in state)

        return beam_search(step, (start, start), labels=self.labels, width=self.beam)

    def forward(self, embeddings: Float[Tensor, "rows embed"]) -> Float[Tensor, "rows labels"]:
        """Log-odds of `path_scores` of the paths found."""
        return path_scores(self.paths(embeddings)).logit()

    def _scores(self, outputs: Tensor, image: Tensor) -> Tensor:
        joint = (self.from_recurrent(outputs) + image).tanh()
        scores: Tensor = joint @ self.label.weight.T
        return scores


def path_scores(paths: Paths) -> Float[Tensor, "rows labels"]:
    """The share of the found paths' probability that is of paths naming the label.

    That share makes up all but a thousandth of the score; the rest is the largest probability
    that the label had at any step, averaged over the paths. It orders the labels that no path
    names, or all do: otherwise most labels of an image would be tied, and metrics of ranking
    would measure how ties are broken. A score is above 0.5 where the share is, bar a
    thousandth.

    Returns:
        In [0, 1]; a function of the image's own paths.

    Example:
        >>> import torch
        >>> members = torch.tensor([[[True, True, False], [True, False, False]]])
        >>> nearest = torch.tensor([[[0.8, 0.6, 0.1], [0.8, 0.6, 0.3]]])
        >>> scores = path_scores(Paths(torch.tensor([[0.6, 0.2]]).log(), members, nearest))
        >>> [round(score, 5) for score in scores[0].tolist()]
        [0.9998, 0.74985, 0.00015]
    """
    weights = paths.log_probability.softmax(1)[..., None]
    named = (weights * paths.members).sum(1)
    near = (weights * paths.nearest).sum(1)
    return ((1 - _TIE_BREAK) * named + _TIE_BREAK * near).clamp(0, 1)
