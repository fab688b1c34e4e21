"""The processes of a program that tests kill, found in /proc among the descendants of others."""

from pathlib import Path


def descendants(*ancestors):
    """Command line by process number of all descendants of these processes, and their parents."""
    parents, commands = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" (")
            parents[int(number)] = int(rest.rpartition(")")[2].split()[1])
            commands[int(number)] = (stat.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    found, size = set(ancestors), 0
    while size != len(found):
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return {
        pid: (commands[pid], parents[pid])
        for pid in sorted(found - set(ancestors))
        if pid in commands
    }


def workers(*ancestors):
    """Process numbers of the run's Ray Train workers."""
    found = descendants(*ancestors).items()
    return [pid for pid, (command, _) in found if b"ray::RayTrainWorker" in command]


def controllers(*ancestors):
    """Process number of the run's Ray Train controller, in a list."""
    found = descendants(*ancestors).items()
    return [pid for pid, (command, _) in found if b"ray::TrainController" in command]


def loader_processes(*ancestors):
    """Process numbers of the DataLoader processes, which the workers' fork servers have forked."""
    found = descendants(*workers(*ancestors))
    servers = {
        pid for pid, (command, _) in found.items() if b"multiprocessing.forkserver" in command
    }
    return [pid for pid in sorted(servers) if found[pid][1] in servers]
