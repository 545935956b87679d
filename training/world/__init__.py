"""A made-up world: people with facts and manners, documents about them, and questions with exact answers.

Everything is generated from a seed. Open-vocabulary values (names, places, numbers) are split by a hash of the value,
so that a value seen in training is never one that an evaluation asks for; see :mod:`training.world.values`.
"""
