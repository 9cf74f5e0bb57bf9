"""Tokens by which the processes of a runner and of its program are found again."""


def runner_prefix(node_name: str) -> str:
    return f"runner-{node_name}-"


def runner_token(node_name: str, job_id: int, attempt: int) -> str:
    return f"{runner_prefix(node_name)}{job_id}-{attempt}."


def program_token(job_id: int, attempt: int) -> str:
    return f"job-{job_id}-{attempt}."
