"""A made-up world: people with facts and manners, documents about them, and questions with exact answers.

Everything is generated from a seed. Open-vocabulary values (names, places, numbers) are split by a hash of the whole
value, so that an answer asked for in evaluation was never an answer in training; see :mod:`training.world.values`. A
part of it may have been: of evaluation's given names of friends, about one in five occurs inside somebody's full name
in training.
"""
