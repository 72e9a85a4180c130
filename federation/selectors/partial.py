"""What a selector may select of which only some labels are known. Pure: Kleene's logic of three values."""

from collections.abc import Mapping

from federation.selectors.tree import All, And, Node, Not, Or, keys_of


def may_match(node: Node, known: Mapping[str, str]) -> bool:
    """False when nothing that has the known labels, whatever else it has, is selected. True may also mean that nothing is known."""
    return True in _answers(node, known)


def _answers(node: Node, known: Mapping[str, str]) -> frozenset[bool]:
    """The answers that are possible; each operand is taken for itself, so that there may be more than really are."""
    match node:
        case Not(operand):
            return frozenset(not answer for answer in _answers(operand, known))
        case And(operands):
            answers = [_answers(operand, known) for operand in operands]
            return _either(all(True in a for a in answers), any(False in a for a in answers))
        case Or(operands):
            answers = [_answers(operand, known) for operand in operands]
            return _either(any(True in a for a in answers), all(False in a for a in answers))
        case All():
            return frozenset({True})
        case _:
            return (
                frozenset({node.matches(known)})
                if keys_of(node) <= known.keys()
                else frozenset({True, False})
            )


def _either(may_be_true: bool, may_be_false: bool) -> frozenset[bool]:
    return frozenset(value for value, may in ((True, may_be_true), (False, may_be_false)) if may)
