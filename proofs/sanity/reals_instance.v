(* the reals of Coq are a realType, so expField has an instance *)
From Coq Require Import Reals.
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import reals Rstruct.
From rankbound Require Import model exponential theorem_a model_measure.
Check (realExp [realType of R]).
Definition E := realExp [realType of R].
