(* The log-rank over any field: adding a constant to a column is undone by centring, and the rank
   of C A is the least rank of A + 1 c^T. Theorem A without softmax. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section LogRank.
Variables (F : fieldType) (n d : nat).
Hypothesis n_unit : (n%:R : F) != 0.

Local Notation ones := (model.ones F n).
Local Notation centre := (model.centre F n).

Lemma ones_tr_ones : ones^T *m ones = (n%:R)%:M :> 'M[F]_1.
Proof.
apply/matrixP => i j; rewrite !mxE (eq_bigr (fun _ => 1)) => [|k _]; last by rewrite !mxE mulr1.
by rewrite sumr_const card_ord !ord1 eqxx.
Qed.

Lemma centre_ones : centre *m ones = 0.
Proof.
rewrite /centre mulmxBl mul1mx -scalemxAl -mulmxA ones_tr_ones.
by rewrite mul_mx_scalar scalerA mulVf // scale1r subrr.
Qed.

(* the gauge: adding a constant to each column *)
Lemma centre_gauge (A : 'M[F]_n) (c : 'rV[F]_n) : centre *m (A + ones *m c) = centre *m A.
Proof. by rewrite mulmxDr mulmxA centre_ones mul0mx addr0. Qed.

Lemma logrank_le (A : 'M[F]_n) (c : 'rV[F]_n) : (\rank (centre *m A) <= \rank (A + ones *m c)%R)%N.
Proof. by rewrite -(centre_gauge A c) mxrankM_maxr. Qed.

Lemma logrank_attained (A : 'M[F]_n) : exists c : 'rV[F]_n, A + ones *m c = centre *m A.
Proof.
exists (- n%:R^-1 *: (ones^T *m A)).
by rewrite /centre mulmxBl mul1mx -scalemxAl -scalemxAr scaleNr mulmxA.
Qed.

Lemma logrank_lt (A : 'M[F]_n) : (0 < n)%N -> (\rank (centre *m A) < n)%N.
Proof.
move=> n0; apply: leq_ltn_trans (mxrankM_maxl _ _) _.
rewrite ltn_neqAle rank_leq_row andbT; apply/negP => /eqP h.
have /row_fullP [B hB] : row_full centre by rewrite /row_full h.
have : ones = 0 by rewrite -[ones]mul1mx -hB -mulmxA centre_ones mulmx0.
by move/matrixP/(_ (Ordinal n0) 0); rewrite !mxE => /eqP; rewrite oner_eq0.
Qed.

(* Theorem A, algebraic core: tokens of full column rank *)
Theorem head_of_size (X : 'M[F]_(d, n)) (A : 'M[F]_n) (k : nat) : \rank X = n ->
  (exists (Wk Wq : 'M[F]_(k, d)) (c : 'rV[F]_n), (Wk *m X)^T *m (Wq *m X) = A + ones *m c)
  <-> (\rank (centre *m A) <= k)%N.
Proof.
move=> rX; split=> [[Wk [Wq [c h]]] | hk].
  apply: leq_trans (logrank_le A c) _; rewrite -h.
  by apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr rank_leq_row.
have /row_fullP [Y hY] : row_full X by rewrite /row_full rX.
have [c hc] := logrank_attained A.
set L := centre *m A in hk hc *.
have [U [V hUV]] : exists (U : 'M[F]_(n, k)) (V : 'M[F]_(k, n)), U *m V = L.
  have e := mulmx_ebase L.
  exists (col_ebase L *m pid_mx (\rank L)); exists (pid_mx (\rank L) *m row_ebase L).
  rewrite mulmxA -(mulmxA (col_ebase L)) mul_pid_mx !minnn.
  by rewrite -[in RHS]e (minn_idPr hk).
exists (U^T *m Y); exists (V *m Y); exists c.
by rewrite -!mulmxA hY !mulmx1 trmxK hUV hc.
Qed.
End LogRank.
