"""Products of arrays say how precisely they are taken, wherever what they yield ranks or places anything."""

import ast

from test_platforms import places_with

RANKS = ("acquisition/", "scoring/", "strategies/", "tasks/", "training/", "arrays.py")


def leaves_precision_open(node: ast.AST) -> bool:
    """Whether it is a product of arrays of JAX in the precision that a platform takes by default."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.MatMult)
    products = {"einsum", "matmul", "dot", "tensordot", "vdot", "inner", "dot_general", "conv_general_dilated"}
    is_product = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in products
    if is_product and ast.unparse(node.func.value) == "np":  # NumPy has no other precision than that of the numbers
        return False
    return is_product and "precision" not in {keyword.arg for keyword in node.keywords}


def test_products_that_rank_or_place_say_their_precision():
    """By default eleven bits on GPUs (TF32) and eight on TPUs (one pass of bfloat16): a mutual information would be noise."""
    assert [place for place in places_with(leaves_precision_open) if place.startswith(RANKS)] == []
    assert "networks/conv.py convolve" in places_with(leaves_precision_open)  # the network's own are the platform's
