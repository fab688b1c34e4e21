"""What a search will do, in words, before anything runs."""

from retdm.config import Config, Domain, lay_over, parse
from retdm.console import counted
from retdm.methods import build_method
from retdm.onray.tune_plan import SearchPlan
from retdm.tuning.space import combinations, is_in, probes

_FLOAT_BYTES, _WHOLE_BYTES = 4, 8


def describe(plan: SearchPlan) -> list[str]:
    """Lines that tell what a search will do."""
    tune = plan.tune
    lines = [f"search: {plan.home}"]
    lines += [f"  {name}: {_range(domain)}" for name, domain in tune.space.items()]
    budget = "trials" if tune.unlimited else counted(tune.limit, "trial")
    if tune.sampler == "grid":
        there = len(combinations(tune.space, tune.grid_points))
        budget = f"{min(tune.limit, there)} trials of {there} combinations"
    if tune.hours:
        budget += f", none begun after {tune.hours:g} hours"
    lines.append(f"{tune.sampler}: {budget}; good at validation {' and '.join(tune.metrics)}")
    if left_out := [
        f"{name} = {plan.defaults[name]}"
        for name, domain in tune.space.items()
        if not is_in(domain, plan.defaults[name])
    ]:
        lines.append(
            f"the recipe's own values are no trial: {', '.join(left_out)} is not in the space"
        )
    params = {name: probes(domain)[0] for name, domain in tune.space.items()}
    config = parse(Config, lay_over(plan.table, params), source="a trial")
    counts = plan.epochs(config)
    each = (
        f"each trial: {counted(tune.seeds, 'run')} of {counted(sum(counts), 'epoch')} that count"
    )
    if len(tune.metrics) > 1:
        lines.append(f"{each}; none is stopped early, with two metrics")
    elif tune.prune == "none":
        lines.append(f"{each}; none is stopped early")
    else:
        lines.append(
            f"{each}; stopped after epoch {tune.grace_epochs} (then {tune.reduction_factor} "
            f"times as many, ...) unless among the best 1/{tune.reduction_factor} there"
        )
    if plan.stages:
        (cell, *_) = plan.stages.values()
        lines.append(f"first stage: {counted(cell.epochs, 'epoch')}, once for all trials")
    else:
        lines.append("first stage: each trial's own, since it depends on what is searched")
    count = counted(config.checkpoint.keep_best * tune.seeds, "checkpoint")
    size = _checkpoint_bytes(config, plan.labels) / 2**20
    lines.append(
        f"each trial that is over keeps {count} of about {size:.3g} MiB, one at work up to "
        f"{config.checkpoint.keep_best + 3} a run"
    )
    return lines


def _checkpoint_bytes(config: Config, labels: int) -> int:
    """About: weights and their momentum, and the bank."""
    method = build_method(config, labels, load_weights=False)
    state = [tensor for part in method.parts.values() for tensor in part.state_dict().values()]
    size: int = 2 * sum(tensor.numel() * tensor.element_size() for tensor in state)
    if method.uses_bank:
        size += config.bank.size * (config.model.embedding * _FLOAT_BYTES + 3 * _WHOLE_BYTES)
    return size


def _range(domain: Domain) -> str:
    if domain.choice is not None:
        return " or ".join(map(str, domain.choice))
    low, high = domain.ends
    return f"{low:g} to {high:g}" + (", logarithmic" if domain.log else "")
