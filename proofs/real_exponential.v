(* e^x >= 1 + x for all real x. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import boolp classical_sets reals topology normedtype derive sequences exp.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports numFieldNormedType.Exports.
Local Open Scope ring_scope.
(* by the mean value theorem, on the negative half; mathcomp-analysis has the other *)
Theorem real_expR_ge (R : realType) (x : R) : 1 + x <= sequences.expR x.
Proof.
have [x0 | /ltW x0] := leP 0 x; first exact: exp.expR_ge1Dx.
have [| c] := @MVT_segment R (@sequences.expR R) (@sequences.expR R) x 0 x0.
  by apply: continuous_subspaceT; apply: continuous_expR.
rewrite in_itv /= => /andP [_ c0]; rewrite exp.expR0 sub0r => e.
have c1 : sequences.expR c <= 1 by rewrite -(@exp.expR0 R) exp.ler_expR.
have : 1 - sequences.expR x <= - x.
  by rewrite e -[X in _ <= X]mul1r ler_wpmul2r // oppr_ge0.
by rewrite ler_subl_addr addrC -ler_subl_addr opprK.
Qed.
